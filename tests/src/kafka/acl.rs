//! Kafka's access list: librdkafka's Rust binding has no call for it, so the requests are written
//! here by hand (CreateAcls and DeleteAcls, and DescribeAcls to see that the broker has heard of it; all of
//! version 1).

use std::io::{Error, Read, Result, Write};
use std::net::{Ipv4Addr, TcpStream};

/// Who may write to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, as where there is no list.
    Everybody,
    /// Nobody. All else is allowed.
    Nobody,
}

impl Access {
    /// The properties of a broker that has an access list.
    pub const PROPERTIES: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         allow.everyone.if.no.acl.found=true";
}

const DESCRIBE: i16 = 29;
const CREATE: i16 = 30;
const DELETE: i16 = 31;
const TOPIC: u8 = 2;
const LITERAL: u8 = 3;
const ANY: u8 = 1;
const ALL: u8 = 2;
const WRITE: u8 = 4;
const DENY: u8 = 2;
const ALLOW: u8 = 3;

/// Whether the broker itself, which hears of changes later than its controller, has a list for a topic.
pub(super) fn is_listed(port: u16, topic: &str) -> Result<bool> {
    let answer = ask(port, DESCRIBE, &filter(topic))?;
    // Correlation id, throttle time, error code, an empty message, then the count of resources.
    match answer.get(8..16) {
        Some([0, 0, 0, 0, count @ ..]) => Ok(count != [0; 4]),
        other => Err(Error::other(format!("Kafka does not show its access list: {other:?}"))),
    }
}

/// Sets the list of a topic.
pub(super) fn change(port: u16, topic: &str, access: Access) -> Result<()> {
    let (key, entries) = match access {
        Access::Nobody => (CREATE, vec![entry(topic, WRITE, DENY), entry(topic, ALL, ALLOW)]),
        Access::Everybody => (DELETE, vec![filter(topic)]),
    };
    let mut body = (entries.len() as i32).to_be_bytes().to_vec();
    body.extend(entries.concat());
    let answer = ask(port, key, &body)?;
    // Correlation id, throttle time, count of results, then each result's error code first.
    match answer.get(12..14) {
        Some([0, 0]) => Ok(()),
        code => Err(Error::other(format!("Kafka refuses the change of its access list: {code:?}"))),
    }
}

fn entry(topic: &str, operation: u8, permission: u8) -> Vec<u8> {
    [&[TOPIC][..], &text(topic), &[LITERAL], &text("User:*"), &text("*"), &[operation, permission]].concat()
}

fn filter(topic: &str) -> Vec<u8> {
    let anybody = (-1i16).to_be_bytes();
    [&[TOPIC][..], &text(topic), &[LITERAL], &anybody, &anybody, &[ANY, ANY]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn ask(port: u16, key: i16, body: &[u8]) -> Result<Vec<u8>> {
    let (version, correlation) = (1i16, 1i32);
    let mut request = [&key.to_be_bytes()[..], &version.to_be_bytes(), &correlation.to_be_bytes()].concat();
    request.extend(text("test"));
    request.extend(body);
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.write_all(&(request.len() as i32).to_be_bytes())?;
    socket.write_all(&request)?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer)?;
    Ok(answer)
}
