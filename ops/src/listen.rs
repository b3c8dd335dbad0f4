//! Where a program's metrics are served, as it stands in a configuration.

use std::net::SocketAddr;

/// An address, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(pub Option<SocketAddr>);

/// The text is no address.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no address to listen on: write an IP address and a port, such as \"127.0.0.1:9464\", or nothing \
     for none"
)]
pub struct ListenError(String);

impl TryFrom<String> for Listen {
    type Error = ListenError;

    fn try_from(text: String) -> Result<Self, ListenError> {
        match text.is_empty() {
            true => Ok(Self(None)),
            false => text.parse().map(|address| Self(Some(address))).map_err(|_| ListenError(text)),
        }
    }
}

impl std::str::FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        text.to_owned().try_into()
    }
}
