//! Rows of streams that a transform makes up: columns come from the first row, by the types of its
//! values, and later rows have the same.

use crate::{Clock, Column, Derived, Kind, Row, Value};

/// What can stand in a derived stream's column.
pub trait Cell {
    /// The column's kind.
    const KIND: Kind;
    /// The value.
    fn value(self) -> Value;
}

macro_rules! cell {
    ($($kind:ident: $($t:ty => $make:expr),*;)*) => {$($(
        impl Cell for $t {
            const KIND: Kind = Kind::$kind;
            fn value(self) -> Value {
                #[allow(clippy::redundant_closure_call)]
                Value::$kind($make(self))
            }
        }
    )*)*};
}
cell! {
    Int: u8 => i64::from, u16 => i64::from, u32 => i64::from, i8 => i64::from, i16 => i64::from, i32 => i64::from,
         i64 => |v| v;
    Float: f32 => f64::from, f64 => |v| v;
    Boolean: bool => |v| v;
    Text: &str => String::from, String => |v| v;
    Bytes: &[u8] => Vec::from, Vec<u8> => |v| v;
}

impl<T: Cell> Cell for Option<T> {
    const KIND: Kind = T::KIND;
    fn value(self) -> Value {
        self.map_or(Value::Null, T::value)
    }
}

/// Room for the columns of most streams, made at once.
const COLUMNS: usize = 8;

/// A row in the making.
pub struct RowMaker<'a> {
    table: &'a mut Derived,
    values: Vec<Value>,
    wrong: Option<String>,
}

impl RowMaker<'_> {
    /// Sets the next column. Every row sets the same columns in the same order; `None` is null.
    pub fn set<T: Cell>(&mut self, column: &str, value: T) -> &mut Self {
        let i = self.values.len();
        match self.table.columns.get(i) {
            None if self.table.rows.is_empty() => {
                self.table.columns.push(Column { name: column.into(), kind: T::KIND });
            }
            Some(c) if c.name == column && c.kind == T::KIND => {}
            _ if self.wrong.is_some() => {}
            _ => {
                self.wrong =
                    Some(format!("column {column} is not in its place, or of another kind than before"))
            }
        }
        self.values.push(value.value());
        self
    }

    /// Puts the row where it belongs.
    pub(crate) fn finish(self, ts_us: i64, clock: Clock) -> Result<(), String> {
        let Self { table, values, wrong } = self;
        let stream = &table.stream;
        if let Some(wrong) = wrong {
            return Err(format!("Stream {stream}: {wrong}"));
        }
        if values.len() != table.columns.len() {
            let (set, all) = (values.len(), table.columns.len());
            return Err(format!("Stream {stream}: a row sets {set} columns, and the first one set {all}"));
        }
        table.rows.push(Row { ts_us, clock, values });
        Ok(())
    }
}

/// The derived rows of a batch, by stream.
#[derive(Debug, Default)]
pub(crate) struct Tables(pub(crate) Vec<Derived>);

impl Tables {
    /// Begins a row of a stream.
    pub(crate) fn row(&mut self, stream: &str) -> RowMaker<'_> {
        let at = self.0.iter().position(|t| t.stream == stream).unwrap_or_else(|| {
            let (columns, rows) = (Vec::with_capacity(COLUMNS), Vec::with_capacity(COLUMNS));
            self.0.push(Derived { stream: stream.into(), columns, rows });
            self.0.len() - 1
        });
        let table = &mut self.0[at];
        let values = Vec::with_capacity(table.columns.len().max(COLUMNS));
        RowMaker { table, values, wrong: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_stream_have_the_columns_of_the_first() {
        let mut tables = Tables::default();
        let row = |tables: &mut Tables, g: Option<f64>| {
            let mut row = tables.row("harsh");
            row.set("kind", "braking").set("g", g);
            row.finish(7, Clock::Gps)
        };
        row(&mut tables, Some(0.5)).unwrap();
        row(&mut tables, None).unwrap();
        assert_eq!(tables.0[0].columns[1], Column { name: "g".into(), kind: Kind::Float });
        assert_eq!(tables.0[0].rows[1].values, [Value::Text("braking".into()), Value::Null]);
        let mut other = tables.row("harsh");
        other.set("kind", 1);
        assert!(other.finish(7, Clock::Gps).unwrap_err().contains("column kind"));
        assert_eq!(tables.0[0].rows.len(), 2);
    }
}
