//! TLS to the MQTT broker from PEM files, on rustls with ring.

use crate::settings::Tls;
use rumqttc::tokio_rustls::TlsConnector;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::path::Path;
use std::sync::Arc;

/// TLS as its files have it now: a certificate that was renewed counts from the next connection on, without
/// a restart.
#[derive(Clone)]
pub(crate) struct TlsFiles {
    files: Tls,
    /// Read at the start, and used as long as the files cannot be.
    first: TlsConnector,
}

impl TlsFiles {
    /// Reads the files, which must be whole now.
    pub(crate) fn open(files: Tls) -> Result<Self, String> {
        let first = connector(&files)?;
        Ok(Self { files, first })
    }

    pub(crate) fn current(&self) -> TlsConnector {
        connector(&self.files).unwrap_or_else(|why| {
            tracing::warn!("{why}. The certificates that the bridge started with stay in use");
            self.first.clone()
        })
    }
}

fn connector(tls: &Tls) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(&tls.ca)? {
        roots
            .add(cert)
            .map_err(|e| format!("{} holds a certificate that is not usable: {e}", tls.ca.display()))?;
    }
    if roots.is_empty() {
        return Err(format!("{} holds no certificate", tls.ca.display()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let key = rustls_pemfile::private_key(&mut open(key)?.as_slice())
                .map_err(|e| format!("{} is not readable: {e}", key.display()))?
                .ok_or_else(|| format!("{} holds no private key", key.display()))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key)
                .map_err(|e| format!("{} and its key are not usable: {e}", cert.display()))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("mqtt.tls.cert and mqtt.tls.key belong together: set both or none".to_owned()),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn open(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, String> {
    rustls_pemfile::certs(&mut open(path)?.as_slice())
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{} is not a PEM file of certificates: {e}", path.display()))
}
