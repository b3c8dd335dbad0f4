//! Reads a line's JSON object: flat, without lists, and in no more memory than a few times the line's
//! own length, whatever it holds.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};
use std::fmt;

/// The most keys: the columns that a row can have, and those that say where it comes from.
const MAX_KEYS: usize = milepost_wire::frame::MAX_COLUMNS + 16;
/// The most characters of a message, which may quote the line.
const MAX_MESSAGE: usize = 200;

/// The object of a line. A value that no column can have, such as a list, is an empty list.
pub(super) fn read(line: &str) -> Result<Map<String, Json>, String> {
    let object = serde_json::from_str::<Object>(line).map_err(|e| e.to_string());
    object.map(|object| object.0).map_err(|message| message.chars().take(MAX_MESSAGE).collect())
}

struct Object(Map<String, Json>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Keys).map(Self)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Map<String, Json>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Scalar(value))) = map.next_entry::<String, Scalar>()? {
            if object.len() == MAX_KEYS {
                return Err(A::Error::custom(format_args!("it has more than {MAX_KEYS} keys")));
            }
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("it has the key {key:?} twice")));
            }
            object.insert(key, value);
        }
        Ok(object)
    }
}

/// A value that a column can have, or an empty list.
struct Scalar(Json);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Json::Array(Vec::new()))
    }

    /// Bytes are an object with one key.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut bytes = Map::new();
        let mut others = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "base64" && bytes.is_empty() {
                bytes.insert(key, map.next_value::<Scalar>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
                others = true;
            }
        }
        Ok(if others { Json::Array(Vec::new()) } else { Json::Object(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_are() {
        let line =
            r#"{"a":null,"b":true,"c":-3,"d":18446744073709551615,"e":0.5,"f":"x\n","g":{"base64":"Zg"}}"#;
        assert_eq!(read(line).unwrap(), serde_json::from_str(line).unwrap());
    }

    #[test]
    fn what_no_column_can_have_takes_no_room() {
        let none = Json::Array(Vec::new());
        for value in
            ["[]", "[1,2,[3]]", r#"{"x":1}"#, r#"{"base64":"Zg","x":1}"#, r#"{"base64":1,"base64":2}"#]
        {
            assert_eq!(read(&format!("{{\"a\":{value}}}")).unwrap()["a"], none, "{value}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let _ = read(&deep);
    }

    #[test]
    fn a_refusal_is_short_and_says_why() {
        let many: Vec<String> = (0..=MAX_KEYS).map(|n| format!("\"k{n}\":1")).collect();
        assert!(read(&format!("{{{}}}", many.join(","))).unwrap_err().contains("more than"));
        assert!(read(r#"{"a":1,"a":2}"#).unwrap_err().contains("\"a\" twice"));
        let quoted = read(&format!("{:?}", "x".repeat(10_000))).unwrap_err();
        assert!(quoted.len() <= MAX_MESSAGE && quoted.starts_with("invalid type"), "{quoted}");
    }
}
