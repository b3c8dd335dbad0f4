use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::layer(Some(("agent.toml", file)), environment).map_err(|e| e.to_string())
}

#[test]
fn the_defaults_are_those_of_the_modules() {
    let config = Config::new(VehicleId::new("v").unwrap(), "/tmp/x");
    assert_eq!(config.outbox(), outbox::Settings::default());
    let queue = QueueLimits::default();
    assert_eq!((config.queue_limits().readings, config.queue_limits().bytes), (queue.readings, queue.bytes));
    assert_eq!(LimitsConfig::default().limits(), Limits::default());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "vehicle = 'from-file'\n[uplink]\nurl = 'mqtt://a:1'\nwindow = 7";
    let config = load(file, &[("MILEPOST_AGENT__UPLINK__URL", "mqtts://b"), ("PATH", "/bin")]).unwrap();
    assert_eq!(config.vehicle.as_str(), "from-file");
    assert_eq!((config.uplink.url.as_str(), config.uplink.window), ("mqtts://b", 7));
    assert_eq!(config.batch.count_max, 60);
    let config = load(file, &[("MILEPOST_AGENT__UPLINK__WINDOW", "9"), ("MILEPOST_AGENT__VEHICLE", "42")]);
    let config = config.unwrap();
    assert_eq!((config.vehicle.as_str(), config.uplink.window), ("42", 9));
}

#[test]
fn an_unknown_key_is_refused_with_its_name_its_place_and_a_guess() {
    for (file, expected) in [
        ("vehicle = 'v'\n\n[uplink]\nulr = 'x'", ["agent.toml, line 4", "`uplink.ulr`", "`url`"]),
        ("vehicle = 'v'\nvehicel = 'w'", ["agent.toml, line 2", "`vehicel`", "`vehicle`"]),
        ("loss_window = '1s'", ["agent.toml, line 1", "`loss_window`", "`spool.loss_window`"]),
    ] {
        let message = load(file, &[]).unwrap_err();
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
    }
    let message = load("vehicle = 'v'", &[("MILEPOST_AGENT__UPLINK__ULR", "x")]).unwrap_err();
    assert!(message.contains("MILEPOST_AGENT__UPLINK__ULR"), "{message}");
}

#[test]
fn a_wrong_value_is_refused_with_its_key_and_its_place() {
    for (file, expected) in [
        ("vehicle = 'v'\n[batch]\nage_max = 5", ["agent.toml", "age_max"]),
        ("vehicle = 'v'\n[batch]\nage_max = '5 parsecs'", ["agent.toml", "5 parsecs"]),
        ("vehicle = 'a/b'", ["agent.toml", "a/b"]),
        ("vehicle = 'v'\n[[source]]\nname = 'x'\ntype = 'nothing'", ["\"x\"", "nothing"]),
        ("vehicle = 'v'\n[[source]]\nname = 'x'\ntype = 'simulate'\nodd = 1", ["\"x\"", "odd"]),
        ("vehicle = 'v'\n[[source]]\ntype = 'simulate'", ["[[source]]", "name"]),
        ("vehicle = 'v'\n[[transform]]\nname = 't'\nodd = 1", ["agent.toml", "odd"]),
        ("vehicle = 'v'\n[[transform]]\nname = 't'\nparams = { a = [1] }", ["agent.toml", "\"a\""]),
        ("vehicle = 'v'\n[uplink]\nurl = 'http://x'", ["uplink.url", "mqtt://host:port"]),
        ("vehicle = 'v'\n[uplink]\nurl = 'mqtt://'", ["uplink.url", "no host"]),
        ("vehicle = 'v'\n[uplink]\nkeep_alive = '1s'", ["uplink.keep_alive", "5s"]),
        ("vehicle = 'v'\n[uplink]\ncert = 'x'", ["uplink.cert", "uplink.key"]),
        ("vehicle = 'v'\n[batch]\ncount_max = 9000", ["batch.count_max", "8192"]),
        ("[batch]", ["`vehicle`", "no name"]),
        ("vehicle = ", ["agent.toml, line 1", "TOML"]),
        ("vehicle = 'v'\n[[source]]\nname = 'x'\ntype = 'gpsd'\npause = '5 parsecs'", ["\"x\"", "5 parsecs"]),
    ] {
        let message = load(file, &[]).expect_err(file);
        assert!(expected.iter().all(|part| message.contains(part)), "{file:?}: {message}");
    }
    let message = load("vehicle = 'v'", &[("MILEPOST_AGENT__UPLINK__WINDOW", "many")]).unwrap_err();
    assert!(message.contains("MILEPOST_AGENT__UPLINK__WINDOW"), "{message}");
}

#[test]
fn a_transform_is_read_with_its_streams_parameters_and_limits() {
    let file = "vehicle = 'v'\n[[transform]]\nname = 't'\npath = '/x.wasm'\nstreams = ['gps_data', 'ev']\n\
                on_failure = 'halt'\nparams = { a = 1, b = 'two', c = true, d = 1.5 }\n\
                limits = { cpu = '10ms', memory = '4 MiB' }";
    let transform = &load(file, &[]).unwrap().transform[0];
    assert_eq!(transform.streams.as_ref().unwrap()[0], Stream::Gps);
    assert_eq!(transform.on_failure, OnFailure::Halt);
    let params: Vec<&str> = transform.params.values().map(String::as_str).collect();
    assert_eq!(params, ["1", "two", "true", "1.5"]);
    let limits = transform.limits.limits();
    assert_eq!((limits.cpu.as_millis(), limits.memory_bytes), (10, 4 << 20));
    assert_eq!(limits.output_rows, Limits::default().output_rows);
}

#[test]
fn two_of_one_name_are_refused() {
    let file = "vehicle = 'v'\n[[transform]]\nname = 't'\n[[transform]]\nname = 't'";
    assert!(load(file, &[]).unwrap_err().contains("\"t\""));
}

#[test]
fn broker_addresses_are_split() {
    for (url, expected) in [
        ("mqtt://h", (false, "h", 1883)),
        ("mqtts://h/", (true, "h", 8883)),
        ("mqtt://10.0.0.1:9", (false, "10.0.0.1", 9)),
        ("mqtt://[::1]:9", (false, "[::1]", 9)),
        ("mqtt://[::1]", (false, "[::1]", 1883)),
    ] {
        let (tls, host, port) = broker(url).unwrap();
        assert_eq!((tls, host.as_str(), port), expected, "{url}");
    }
    for bad in ["h:1", "mqtt://h:x", "mqtt://h:70000", "mqtt://u:p@h", "mqtt://h/topic", ""] {
        assert!(broker(bad).is_err(), "{bad}");
    }
}

#[test]
fn secrets_print_as_stars() {
    let config = load("vehicle = 'v'\n[uplink]\nusername = 'u'\npassword = 'hunter2'", &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.address().unwrap().login.unwrap().1, "hunter2");
    for wrong in [
        "vehicle = 'v'\n[uplink]\npassword = 'hunter2",
        "vehicle = 'v'\n[uplink]\npassword = hunter2",
        "vehicle = 'v'\n[uplink]\npassword = ['hunter2']",
        "vehicle = 'v'\n[uplink]\nurl = 'mqtt://me:hunter2@h:1'",
        "vehicle = 'v'\n[uplink]\nurl = 'me:hunter2@h:1'",
    ] {
        let message = load(wrong, &[]).expect_err(wrong);
        assert!(!message.contains("hunter2") && !message.contains('\n'), "{message}");
    }
    let message = load("vehicle = 'v'\n[uplink]\npassword = 8675309", &[]).unwrap_err();
    assert!(!message.contains("8675309") && message.contains("quotes"), "{message}");
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn any_text_and_any_variable_are_a_configuration_or_an_error(
            file in prop_oneof![
                any::<String>(),
                "(\\[{1,2}[a-z_.]{0,12}\\]{1,2}\n)?([a-z_.\"]{1,20} = [-0-9a-z:/@\"'\\[\\]{}., ]{0,40}\n){0,5}",
            ],
            path in "[A-Z_]{0,40}",
            value in any::<String>(),
        ) {
            let _ = load(&format!("vehicle = 'v'\n{file}"), &[]);
            let _ = load("vehicle = 'v'", &[(&format!("{}{path}", layers::PREFIX), &value)]);
        }

        /// Whatever stands in front of it and however it is wrong.
        #[test]
        fn no_error_tells_a_password(before in "[a-z_]{0,10}", after in "[\"' \\[\\]{}=,]{0,4}") {
            for key in ["password", "password_fil", "passwort"] {
                let file = format!("vehicle = 'v'\n[uplink]\n{before}\n{key} = \"hunter2\"{after}\n");
                if let Err(said) = load(&file, &[]) {
                    prop_assert!(!said.contains("hunter2"), "{said}");
                }
            }
        }
    }
}
