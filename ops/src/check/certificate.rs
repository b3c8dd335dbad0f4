//! Whether a client's certificate is good at a date. Whom it names and who signed it is the server's to judge.

use super::Wrong;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError as Bad, Error, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An end that is as near as this is said.
const NEAR_DAYS: u64 = 30;

/// Reads the first certificate of a PEM file, and judges it at `now`, since 1970 UTC.
pub fn certificate(path: &Path, now: Duration) -> Result<String, Wrong> {
    let unusable = |why: &dyn std::fmt::Display| {
        let why = format!("{} is not usable: {why}", path.display());
        Wrong::new(why, "Put the certificate there as a PEM file, readable for this user")
    };
    let text = std::fs::read(path).map_err(|why| unusable(&why))?;
    let first = rustls_pemfile::certs(&mut text.as_slice()).next();
    let certificate = first.ok_or_else(|| unusable(&"it holds no certificate"))?.map_err(|e| unusable(&e))?;
    // Any root does: the dates are looked at first, and who signed it is not asked here.
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).map_err(|why| unusable(&why))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().map_err(|why| unusable(&why))?;
    let at = |now| verifier.verify_client_cert(&certificate, &[], UnixTime::since_unix_epoch(now));
    match at(now) {
        Err(Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. })) => {
            let why = format!("{} is no longer good", path.display());
            Err(Wrong::new(why, "Renew the certificate, or set this machine's clock"))
        }
        Err(Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. })) => {
            let why = format!("{} is not good yet", path.display());
            Err(Wrong::new(why, "Set this machine's clock"))
        }
        _ => Ok(match at(now + Duration::from_secs(NEAR_DAYS * 86_400)) {
            Err(Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. })) => {
                format!("{} ends within {NEAR_DAYS} days: renew it soon", path.display())
            }
            _ => format!("{} is good for {NEAR_DAYS} days and more", path.display()),
        }),
    }
}
