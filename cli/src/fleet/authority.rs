//! The fleet's certificate authority: X.509 certificates on P-256, and the list of those that are revoked
//! (RFC 5280), by `rcgen`.

use crate::Failure;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SerialNumber,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// How long a list of revoked certificates counts. OpenSSL lets nobody in with one that is too old, so a
/// list that nobody renews must not end before the fleet does.
const LIST_COUNTS: Duration = Duration::days(36_500);

/// A certificate with its key, as PEM.
pub(super) struct Issued {
    /// Hex digits, 32 of them.
    pub(super) serial: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The authority.
pub(super) struct Authority {
    name: String,
    key: KeyPair,
}

impl Authority {
    /// A new one.
    pub(super) fn new() -> Result<Self, Failure> {
        let key = KeyPair::generate()?;
        Ok(Self { name: format!("Milepost fleet {}", &serial(&key)[..8]), key })
    }

    /// One that was made before.
    pub(super) fn open(name: &str, key: &str) -> Result<Self, Failure> {
        Ok(Self { name: name.to_owned(), key: KeyPair::from_pem(key)? })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its key, as PEM.
    pub(super) fn key(&self) -> String {
        self.key.serialize_pem()
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&self.name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// Its certificate, as PEM.
    pub(super) fn certificate(&self, from: OffsetDateTime, until: OffsetDateTime) -> Result<String, Failure> {
        let mut params = self.params();
        (params.not_before, params.not_after) = (from, until);
        Ok(params.self_signed(&self.key)?.pem())
    }

    /// A certificate for a broker with these names and addresses.
    pub(super) fn broker(
        &self,
        names: &[String],
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Issued, Failure> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = named("Milepost broker");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, from, until)
    }

    /// A certificate for a vehicle: the broker takes its common name for the user.
    pub(super) fn vehicle(
        &self,
        name: &str,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Issued, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, from, until)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Issued, Failure> {
        let key = KeyPair::generate()?;
        let serial = serial(&key);
        (params.not_before, params.not_after) = (from, until);
        params.serial_number = Some(SerialNumber::from_slice(&bytes(&serial)?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &Issuer::new(self.params(), &self.key))?.pem();
        Ok(Issued { serial, certificate, key: key.serialize_pem() })
    }

    /// The list of revoked certificates, as PEM: serials, and when they were revoked.
    pub(super) fn revoked<'a>(
        &self,
        revoked: impl Iterator<Item = (&'a str, OffsetDateTime)>,
    ) -> Result<String, Failure> {
        let now = OffsetDateTime::now_utc();
        let entry = |(serial, at): (&str, OffsetDateTime)| -> Result<RevokedCertParams, Failure> {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&bytes(serial)?),
                revocation_time: at,
                reason_code: Some(RevocationReason::PrivilegeWithdrawn),
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: now - Duration::DAY,
            next_update: now + LIST_COUNTS,
            // Grows with every list, as RFC 5280 asks.
            crl_number: SerialNumber::from(now.unix_timestamp().unsigned_abs()),
            issuing_distribution_point: None,
            revoked_certs: revoked.map(entry).collect::<Result<_, _>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&Issuer::new(self.params(), &self.key))?.pem()?)
    }
}

/// A certificate that nobody signs but itself: who trusts it trusts it alone.
pub(super) fn lone(name: &str, from: OffsetDateTime, until: OffsetDateTime) -> Result<Issued, Failure> {
    let key = KeyPair::generate()?;
    let serial = serial(&key);
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    (params.not_before, params.not_after) = (from, until);
    params.serial_number = Some(SerialNumber::from_slice(&bytes(&serial)?));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.self_signed(&key)?.pem();
    Ok(Issued { serial, certificate, key: key.serialize_pem() })
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// 16 bytes of the digest of a new key, in hex, the first from 1 to 127: a serial number is positive and no
/// other certificate's (RFC 5280, 4.1.2.2).
fn serial(key: &KeyPair) -> String {
    let digest = Sha256::digest(key.public_key_raw());
    let first = (digest[0] & 0x7f).max(1);
    std::iter::once(&first).chain(&digest[1..16]).map(|b| format!("{b:02x}")).collect()
}

fn bytes(serial: &str) -> Result<Vec<u8>, Failure> {
    let pairs = serial.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    bytes.filter(|b| !b.is_empty()).ok_or_else(|| format!("{serial:?} is no serial number in hex").into())
}
