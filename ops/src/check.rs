//! What the `check` commands share: a line for each thing that was tried, and the trials that more than one
//! of them makes. Nothing here prints a secret: no contents of a file, no password, no value of a property.

mod certificate;
#[cfg(feature = "kafka")]
pub mod kafka;

pub use certificate::certificate;

use std::io::Write;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long another program may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is wrong, and how to mend it: a sentence each, without the full stop of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What.
    pub why: String,
    /// How.
    pub mend: String,
}

impl Wrong {
    /// Says both.
    pub fn new(why: impl ToString, mend: impl Into<String>) -> Self {
        Self { why: why.to_string(), mend: mend.into() }
    }
}

/// What was found so far.
pub struct Checks<W> {
    out: W,
    wrong: usize,
}

impl<W: Write> Checks<W> {
    /// Writes a line for each thing to `out`.
    pub fn new(out: W) -> Self {
        Self { out, wrong: 0 }
    }

    /// Says what came of trying `what`; gives whether it is well.
    pub fn found(&mut self, what: &str, result: Result<impl AsRef<str>, Wrong>) -> bool {
        let line = match &result {
            Ok(detail) if detail.as_ref().is_empty() => format!("ok     {what}"),
            Ok(detail) => format!("ok     {what}: {}", detail.as_ref()),
            Err(Wrong { why, mend }) => format!("wrong  {what}: {why}. {mend}"),
        };
        self.wrong += usize::from(result.is_err());
        // Whoever reads only the beginning has closed the pipe, which changes nothing.
        let _ = writeln!(self.out, "{}", line.replace(['\r', '\n'], " "));
        result.is_ok()
    }

    /// Says what is wrong with `what`.
    pub fn failed(&mut self, what: &str, wrong: Wrong) {
        self.found(what, Err::<&str, _>(wrong));
    }

    /// How many things are wrong.
    pub fn wrong(&self) -> usize {
        self.wrong
    }
}

/// Connects to a host; `setting` is where it stands.
pub async fn reach(host: &str, port: u16, setting: &str) -> Result<TcpStream, Wrong> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<_> = match found {
        Ok(found) => found.collect(),
        Err(why) => {
            let mend = format!("Correct `{setting}`, or see that this machine resolves names");
            return Err(Wrong::new(format!("{host} has no address ({why})"), mend));
        }
    };
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(&addresses[..])).await;
    match connected {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(why)) => {
            let mend = format!("Start what should listen there, or correct `{setting}`");
            Err(Wrong::new(format!("Nobody answers at {host}:{port} ({why})"), mend))
        }
        Err(_) => {
            let mend = format!("See whether a firewall is between, or correct `{setting}`");
            Err(Wrong::new(format!("{host}:{port} does not answer within {PATIENCE:?}"), mend))
        }
    }
}

/// What to do about TLS that failed; `None` where the error is not of TLS.
pub fn tls_advice(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    let error = tls_error(error)?;
    Some(match error {
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "Renew the server's certificate, or set this machine's clock"
        }
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "Set this machine's clock"
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "Connect to a name that stands in the server's certificate, or give it one with this name"
        }
        Error::InvalidCertificate(_) => {
            "Set `ca` to the authority that signed the server's certificate; if it is set, somebody else answers"
        }
        Error::AlertReceived(Alert::CertificateRevoked) => {
            "The server knows this certificate as revoked: get another one"
        }
        Error::AlertReceived(Alert::CertificateExpired) => "Renew this certificate",
        Error::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) => {
            "The server wants a certificate: set `cert` and `key`"
        }
        Error::AlertReceived(_) => {
            "The server does not take this certificate: use one that its authority signed"
        }
        Error::InvalidMessage(_) => {
            "The server does not speak TLS on this port: correct the port or the scheme"
        }
        _ => "See the server's log",
    })
}

fn tls_error<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        error = match inner {
            Some(inner) => inner,
            None => error.source()?,
        };
    }
}

#[cfg(test)]
mod tests;
