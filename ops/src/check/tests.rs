use super::*;

#[test]
fn each_trial_is_a_line_and_what_is_wrong_is_counted() {
    let mut text = Vec::new();
    let mut checks = Checks::new(&mut text);
    assert!(checks.found("The sun", Ok("it\nshines")));
    assert!(checks.found("The moon", Ok("")));
    assert!(!checks.found("The door", Err::<&str, _>(Wrong::new("it is locked", "Find the key"))));
    assert_eq!(checks.wrong(), 1);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(
        text,
        "ok     The sun: it shines\nok     The moon\nwrong  The door: it is locked. Find the key\n"
    );
}

#[tokio::test]
async fn who_is_not_there_is_told_from_who_has_no_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let wrong = reach("127.0.0.1", free, "uplink.url").await.unwrap_err();
    assert!(
        wrong.why.contains(&format!("127.0.0.1:{free}")) && wrong.mend.contains("uplink.url"),
        "{wrong:?}"
    );
    let wrong = reach("no-such-host.invalid", 1, "uplink.url").await.unwrap_err();
    assert!(wrong.why.contains("has no address"), "{wrong:?}");
}

#[test]
fn a_tls_error_is_found_below_others_and_told_from_what_is_none() {
    let tls = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRevoked);
    let wrapped = std::io::Error::other(std::io::Error::other(tls));
    assert!(tls_advice(&wrapped).unwrap().contains("revoked"));
    assert_eq!(tls_advice(&std::io::Error::other("something else")), None);
}

#[test]
fn a_certificate_is_judged_by_its_dates_whoever_signed_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cert.pem");
    let [own, authority_key] = [(); 2].map(|()| rcgen::KeyPair::generate().unwrap());
    let mut authority = rcgen::CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "van-1");
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let alone = params.self_signed(&own).unwrap().pem();
    let signed = params.signed_by(&own, &rcgen::Issuer::new(authority, &authority_key)).unwrap().pem();
    let judged = |at| certificate(&path, Duration::from_secs(at));
    for pem in [alone, signed] {
        std::fs::write(&path, pem).unwrap();
        assert!(judged(1_780_000_000).unwrap().contains("good for 30 days"));
        assert!(judged(1_798_000_000).unwrap().contains("renew it soon"));
        assert!(judged(1_767_000_000).unwrap_err().mend.contains("clock"));
        assert!(judged(5).unwrap_err().mend.contains("clock"));
        assert!(judged(1_800_000_000).unwrap_err().mend.contains("Renew"));
    }
    std::fs::write(&path, own.serialize_pem()).unwrap();
    let wrong = judged(1_780_000_000).unwrap_err();
    assert!(wrong.why.contains("no certificate") && !wrong.why.contains("PRIVATE"), "{wrong:?}");
    std::fs::write(&path, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(judged(1_780_000_000).is_err());
    assert!(certificate(&dir.path().join("none"), Duration::ZERO).is_err());
}
