use super::super::calendar::{DAY_S, days};
use super::super::sentence::{Check, Sentence, check};
use super::super::ubx::tests::message;
use super::*;
use proptest::prelude::*;

/// A sentence with its checksum and line end.
fn line(body: &str) -> String {
    let sum = body.bytes().fold(0, |sum, b| sum ^ b);
    format!("${body}*{sum:02X}\r\n")
}

fn log(bodies: &[&str]) -> String {
    bodies.iter().map(|body| line(body)).collect()
}

/// Fixes of a log, pushed in pieces of `cut` bytes.
fn read_cut(log: &[u8], cut: usize) -> (Vec<Fix>, Counts) {
    let (mut reader, mut fixes) = (Reader::new(), Vec::new());
    log.chunks(cut).for_each(|piece| reader.push(piece, |fix| fixes.push(fix)));
    reader.end(|fix| fixes.push(fix));
    (fixes, reader.counts())
}

fn read(log: impl AsRef<[u8]>) -> Vec<Fix> {
    read_cut(log.as_ref(), 4096).0
}

fn rmc(time: &str, valid: &str, date: &str) -> String {
    format!("GPRMC,{time},{valid},4807.0380,N,01131.0000,E,10.0,084.4,{date},003.1,W,A")
}

fn gga(time: &str, quality: u8) -> String {
    format!("GPGGA,{time},4807.0380,N,01131.0000,E,{quality},08,0.9,545.4,M,46.9,M,,")
}

const GSA_3D: &str = "GPGSA,A,3,04,05,09,12,24,,,,,,,,2.5,1.3,2.1";
const GSA_NONE: &str = "GPGSA,A,1,,,,,,,,,,,,,,,";
const VTG: &str = "GPVTG,090.0,T,,M,020.0,N,037.0,K,A";

#[track_caller]
fn seconds(bodies: &[&str], expected: &[u64]) -> Vec<Fix> {
    let fixes = read(log(bodies));
    let found: Vec<_> = fixes.iter().map(|f| f.time_of_day.unwrap() / 1_000_000_000).collect();
    assert_eq!(found, expected);
    fixes
}

#[test]
fn the_sentences_of_an_epoch_make_one_fix_in_any_order() {
    let (rmc, gga) = (rmc("120000.50", "A", "290224"), gga("120000.50", 2));
    for order in [[&rmc[..], &gga, GSA_3D], [&gga, &rmc, GSA_3D], [&gga, GSA_3D, &rmc]] {
        let fix = Fix {
            came_us: 0,
            day: days(2024, 2, 29),
            time_of_day: Some(43_200_500_000_000),
            lat_e7: 481_173_000,
            lon_e7: 115_166_667,
            altitude_cm: Some(54_540),
            speed_mm_s: Some(5_144),
            heading_cdeg: Some(8_440),
            quality: 2,
            satellites: Some(8),
            hdop_e2: Some(90),
        };
        assert_eq!(read(log(&order)), [fix], "{order:?}");
    }
}

#[test]
fn a_speed_without_a_time_counts_last_and_in_its_own_epoch() {
    let fixes = seconds(&[&rmc("120000", "A", "010124"), VTG], &[43_200]);
    assert_eq!((fixes[0].speed_mm_s, fixes[0].heading_cdeg), (Some(10_289), Some(9_000)));
    // A receiver that begins with VTG, whose second one is lost: the third is not the second's.
    let at = |second: &str| rmc(second, "A", "010124");
    let faster = VTG.replace("020.0", "030.0");
    let fixes = seconds(
        &[VTG, &at("120000"), &gga("120000", 1), &at("120001"), &faster, &at("120002")],
        &[43_200, 43_201, 43_202],
    );
    let speeds: Vec<_> = fixes.iter().map(|f| f.speed_mm_s).collect();
    // RMC comes after VTG here, and counts last.
    assert_eq!(speeds, [Some(5_144); 3]);
    // Two in a row: what was between them is lost, and the second is not of the epoch that is open.
    let fixes = seconds(&[&at("120000"), VTG, &faster], &[43_200]);
    assert_eq!(fixes[0].speed_mm_s, Some(10_289));
    // Without a course, or of a receiver that has no fix, it says nothing.
    for vtg in ["GPVTG,,T,,M,020.0,N,037.0,K,A", "GPVTG,090.0,T,,M,020.0,N,037.0,K,N", "GPVTG,,T,,M,,N,,K,N"]
    {
        let fixes = seconds(&[&rmc("120000", "A", "010124"), vtg], &[43_200]);
        assert_eq!((fixes[0].speed_mm_s, fixes[0].heading_cdeg), (Some(5_144), Some(8_440)), "{vtg}");
    }
}

#[test]
fn a_sentence_without_a_time_that_leads_its_epoch_is_not_the_end_of_the_last() {
    let vtg = |knots: u32| format!("GPVTG,090.0,T,,M,{knots:03}.0,N,,K,A");
    let bodies: Vec<String> =
        (0..4).flat_map(|i| [vtg(i * 10), GSA_3D.into(), gga(&format!("12000{i}"), 1)]).collect();
    let fixes = read(log(&bodies.iter().map(String::as_str).collect::<Vec<_>>()));
    let speeds: Vec<_> = fixes.iter().map(|f| f.speed_mm_s.unwrap() / 1000).collect();
    assert_eq!(speeds, [0, 5, 10, 15]);
}

/// Without a fix some receivers send VTG first, and with one in the middle (Quectel's do).
#[test]
fn a_receiver_that_changes_its_order_with_its_first_fix_keeps_its_speeds() {
    let nothing = ["GPVTG,,T,,M,,N,,K,N", GSA_NONE, "GPGGA,,,,,,0,,,,,,,,", "GPRMC,,V,,,,,,,,,,N"];
    let epochs: Vec<String> = ["120000", "120001", "120002"]
        .iter()
        .flat_map(|time| [gga(time, 1), VTG.into(), rmc(time, "A", "010124"), GSA_3D.into()])
        .collect();
    let bodies: Vec<&str> = nothing.iter().copied().chain(epochs.iter().map(String::as_str)).collect();
    let fixes = seconds(&bodies, &[43_200, 43_201, 43_202]);
    assert!(fixes.iter().all(|f| f.speed_mm_s == Some(5_144)), "{fixes:?}");
    // One that seemed to begin its epochs with VTG is found out by its next sentence.
    let bodies = [&[VTG][..], &bodies[4..]].concat();
    let fixes = seconds(&bodies, &[43_200, 43_201, 43_202]);
    assert!(fixes[1..].iter().all(|f| f.speed_mm_s == Some(5_144)), "{fixes:?}");
}

/// A multiplexer on a boat may hand on a block of sentences twice.
#[test]
fn an_epoch_that_is_said_again_keeps_its_own_speed() {
    let vtg = |knots: &str| VTG.replace("020.0", knots);
    let epoch = |time: &str, knots: &str| [gga(time, 1), rmc(time, "A", "010124"), vtg(knots)];
    let again = [rmc("120001", "A", "010124"), vtg("030.0")];
    let bodies =
        [&epoch("120000", "020.0")[..], &epoch("120001", "030.0"), &again, &epoch("120002", "040.0")]
            .concat();
    let fixes = seconds(&bodies.iter().map(String::as_str).collect::<Vec<_>>(), &[43_200, 43_201, 43_202]);
    let speeds: Vec<_> = fixes.iter().map(|f| f.speed_mm_s).collect();
    assert_eq!(speeds, [Some(10_289), Some(15_433), Some(20_578)]);
}

#[test]
fn a_makers_own_sentence_is_not_taken_for_another() {
    let (rmc, gga) = (rmc("120000", "A", "010124"), gga("120000", 1));
    let setup = "PGRMC,A,218.8,100,6378137.000,298.257223563,0.0,0.0,0.0,A,3,1,1,4,30";
    let fixes = seconds(&[&rmc, setup, &gga], &[43_200]);
    assert_eq!((fixes[0].speed_mm_s, fixes[0].satellites), (Some(5_144), Some(8)), "one epoch");
    assert_eq!(seconds(&[&gga, &rmc, setup], &[43_200]).len(), 1, "it takes no fix away");
    let quectels = "PQGSA,A,3,12,,,,,,,,,,,,1.2,0.7,0.9,4";
    assert_eq!(read(log(&[&rmc, quectels]))[0].hdop_e2, Some(70), "one that is");
}

#[test]
fn a_talker_of_one_system_may_count_few_satellites() {
    let few = |talker: &str| format!("{talker}GGA,120000,4807.0380,N,01131.0000,E,1,02,0.9,545.4,M,46.9,M,,");
    let fixes = |talker: &str| read(line(&few(talker))).len();
    assert_eq!(["GP", "GN", "GL", "GB", "II"].map(fixes), [0, 0, 1, 1, 1]);
}

#[test]
fn a_speed_that_nobody_said_is_none() {
    let fixes = seconds(&[&gga("120000", 1), GSA_3D, &gga("120001", 1)], &[43_200, 43_201]);
    assert!(fixes.iter().all(|f| f.speed_mm_s.is_none() && f.heading_cdeg.is_none() && f.day.is_none()));
}

#[test]
fn the_last_word_on_the_fix_counts() {
    let (a, v) = (rmc("120000", "A", "010124"), rmc("120000", "V", "010124"));
    let (good, none) = (gga("120000", 1), gga("120000", 0));
    let few = "GPGGA,120000,4807.0380,N,01131.0000,E,1,02,0.9,545.4,M,46.9,M,,";
    let fix = |bodies: &[&str]| read(log(bodies)).len() == 1;
    assert!(fix(&[&a]) && fix(&[&good]) && fix(&[&v, &good]) && fix(&[few, &a]) && fix(&[few, GSA_3D]));
    assert!(!fix(&[&v]) && !fix(&[&none]) && !fix(&[&good, &v]) && !fix(&[&a, &none]) && !fix(&[few]));
    assert!(!fix(&[&good, GSA_NONE]) && !fix(&[&none, GSA_3D]) && !fix(&[GSA_3D, VTG]));
    assert!(fix(&[&a, &good, GSA_NONE]) && fix(&[GSA_NONE, &good]) && !fix(&[&a, &good, GSA_NONE, &v]));
    // A receiver of several systems says last of all of them together.
    assert!(fix(&["GNGSA,A,3,04,,,,,,,,,,,,2.5,1.3,2.1", &good, GSA_NONE]));
    // A malformed one says nothing, and E is an estimate.
    assert!(fix(&[&good, "GPGSA,A,1,,,,"]) && fix(&[&good, "GPGSA,A,E,,,,,,,,,,,,,2.5,1.3,2.1"]));
}

#[test]
fn epochs_without_a_fix_are_counted() {
    let bodies =
        [rmc("120000", "V", "010124"), gga("120000", 0), rmc("120001", "A", "010124"), gga("120002", 0)];
    let (fixes, counts) = read_cut(log(&bodies.each_ref().map(String::as_str)).as_bytes(), 7);
    assert_eq!((fixes.len(), counts.fixes, counts.without_fix), (1, 1, 2));
}

#[test]
fn zeros_and_blanks_without_a_fix_are_no_position() {
    for body in [
        "GPRMC,120000,V,0000.0000,N,00000.0000,E,0.0,0.0,010124,,,N",
        "GPRMC,120000,A,,,,,,,010124,,,A",
        "GPRMC,,V,,,,,,,,,,N",
        "GPGGA,120000,0000.0000,N,00000.0000,E,0,00,99.9,,M,,M,,",
        "GPGGA,120000,4807.0380,N,01131.0000,E,,08,0.9,545.4,M,46.9,M,,",
        "GPGGA,120000,4807.0380,N,01131.0000,E,1,,0.9,545.4,M,46.9,M,,",
        "GPGGA,120000,4807,N,01131,E,1,08,0.9,545.4,M,46.9,M,,",
        "GPGGA,120000,9907.0380,N,01131.0000,E,1,08,0.9,545.4,M,46.9,M,,",
        "GPGLL,4807.0380,N,01131.0000,E,120000,V,N",
        "GPGLL,4807.0380,N,01131.0000,E,120000,A,N",
        "GNGNS,120000,4807.0380,N,01131.0000,E,NNN,08,0.9,545.4,46.9,,",
        "GNGNS,120000,4807.0380,N,01131.0000,E,AAN,08,0.9,545.4,46.9,,,V",
    ] {
        assert_eq!(read(line(body)), [], "{body}");
    }
}

#[test]
fn other_talkers_and_sentences_give_positions_too() {
    for (body, quality, satellites) in [
        ("GLRMC,120000,D,4807.0380,N,01131.0000,E,,,010124,,", 2, None),
        ("GBRMC,120000,A,4807.0380,N,01131.0000,E,,,010124,,,R", 4, None),
        ("GPGLL,4807.0380,N,01131.0000,E,120000,A", 1, None),
        ("GNGLL,4807.0380,N,01131.0000,E,120000,A,E", 6, None),
        ("GNGNS,120000,4807.0380,N,01131.0000,E,FAN,14,0.9,545.4,46.9,,", 5, Some(14)),
        ("GAGGA,120000,4807.0380,N,01131.0000,E,8,08,0.9,545.4,M,46.9,M,,", 8, Some(8)),
    ] {
        let fixes = read(line(body));
        assert_eq!(fixes.len(), 1, "{body}");
        assert_eq!((fixes[0].quality, fixes[0].satellites), (quality, satellites), "{body}");
        assert_eq!((fixes[0].lat_e7, fixes[0].lon_e7), (481_173_000, 115_166_667), "{body}");
    }
}

#[test]
fn southern_and_western_positions_are_negative() {
    let fixes = read(line("GPGLL,2712.64045678,S,15303.1201,W,120000,A"));
    assert_eq!((fixes[0].lat_e7, fixes[0].lon_e7), (-272_106_743, -1_530_520_017));
}

#[test]
fn epochs_follow_the_receivers_times() {
    let fast: Vec<String> = (0..10).map(|i| rmc(&format!("120000.{i}00"), "A", "010124")).collect();
    let fixes = read(log(&fast.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(fixes.len(), 10, "10 Hz");
    // Slightly different stamps are one epoch, and the last is its time.
    let fixes = read(log(&[&gga("120000.000", 1), &rmc("120000.009", "A", "010124")]));
    assert_eq!(fixes.len(), 1);
    assert_eq!(fixes[0].time_of_day, Some(43_200_009_000_000));
    // A clock that is set back goes back.
    seconds(&[&rmc("120005", "A", "010124"), &rmc("120001", "A", "010124")], &[43_205, 43_201]);
    // A fix is lost: the epoch before is not.
    seconds(&[&rmc("120005", "A", "010124"), &rmc("120006", "V", "010124")], &[43_205]);
    seconds(&[&rmc("120005", "A", "010124"), &gga("120005", 1), "GPRMC,,V,,,,,,,,,,N"], &[43_205]);
}

#[test]
fn a_receiver_that_repeats_its_last_position_gives_it_once() {
    let (gga, rmc) = (gga("120000", 1), rmc("120000", "A", "010124"));
    seconds(&[&gga, GSA_3D, &rmc, &gga, GSA_3D, &rmc, &gga, GSA_3D, &rmc], &[43_200]);
}

#[track_caller]
fn stamps(bodies: &[&str], expected: &[(i64, u32, u32, i64)]) {
    let fixes = read(log(bodies));
    let second = |f: &Fix| f.day.unwrap() * DAY_S + (f.time_of_day.unwrap() / 1_000_000_000) as i64;
    let found: Vec<i64> = fixes.iter().map(second).collect();
    let expected: Vec<i64> =
        expected.iter().map(|(y, m, d, s)| days(*y, *m, *d).unwrap() * 86_400 + s).collect();
    assert_eq!(found, expected);
}

#[test]
fn dates_go_on_over_midnight_leap_days_and_leap_seconds() {
    stamps(
        &[&rmc("235959", "A", "280224"), &gga("000000", 1), &rmc("000000", "A", "290224"), &gga("000001", 1)],
        &[(2024, 2, 28, 86_399), (2024, 2, 29, 0), (2024, 2, 29, 1)],
    );
    stamps(&[&rmc("235959", "A", "280223"), &gga("000000", 1)], &[(2023, 2, 28, 86_399), (2023, 3, 1, 0)]);
    stamps(
        &[&rmc("235959", "A", "311216"), &rmc("235960", "A", "311216"), &rmc("000000", "A", "010117")],
        &[(2016, 12, 31, 86_399), (2017, 1, 1, 0), (2017, 1, 1, 0)],
    );
    stamps(&["GPZDA,120000,06,04,2019,,", &gga("120001", 1)], &[(2019, 4, 6, 43_201)]);
    stamps(&[&gga("120001", 1), "GPZDA,120001,06,04,2019,00,00"], &[(2019, 4, 6, 43_201)]);
    // Two digits of the year mean 1980 to 2079; a roll-over is not corrected here.
    stamps(&[&rmc("000000", "A", "220899")], &[(1999, 8, 22, 0)]);
}

#[test]
fn dates_that_cannot_be_are_none() {
    for day in ["300224", "0102", "01-124", "", "321324", "000000"] {
        let fixes = read(line(&rmc("120000", "A", day)));
        assert_eq!(fixes.len(), 1, "{day}: the position is good");
        assert_eq!(fixes[0].day, None, "{day}");
    }
}

#[test]
fn damage_is_counted_and_gives_nothing() {
    let good = line(&rmc("120000", "A", "010124"));
    let bad = line(&rmc("120001", "A", "010124")).replace("4807", "4808");
    let (fixes, counts) = read_cut(format!("C,084.4,010124*6A\r\n{good}{bad}").as_bytes(), 7);
    assert_eq!((fixes.len(), counts.sentences, counts.bad_checksums, counts.junk_bytes), (1, 1, 1, 17));
    // Binary in the middle of a sentence, and around one.
    let torn = format!("{}\u{1}{good}\n\u{2}\u{3}{good}", &good[..20]);
    let (fixes, counts) = read_cut(torn.as_bytes(), 3);
    assert_eq!((fixes.len(), counts.broken), (1, 1));
    let endless = format!("${}\r\n{good}", "x".repeat(5000));
    let (fixes, counts) = read_cut(endless.as_bytes(), 100);
    assert_eq!((fixes.len(), counts.broken), (1, 1));
}

#[test]
fn sentences_that_run_together_are_taken_apart() {
    let (a, b) = (line(&rmc("120000", "A", "010124")), line(&rmc("120001", "A", "010124")));
    assert_eq!(read(format!("{}{b}", a.trim_end())).len(), 2);
    assert_eq!(read(format!("{}{b}", &a[..30])).len(), 1);
    for end in ["\n", "\r", "\r\r\n", "\r\n\r\n", " \r\n"] {
        assert_eq!(read(format!("{a}{b}").replace("\r\n", end)).len(), 2, "{end:?}");
    }
}

#[test]
fn a_sentence_without_a_checksum_is_counted_and_gives_nothing() {
    let bare = format!("${}\r\n", rmc("120000", "A", "010124"));
    let (fixes, counts) = read_cut(bare.as_bytes(), 50);
    assert_eq!((fixes.len(), counts.missing_checksums, counts.sentences), (0, 1, 0));
    let (fixes, counts) =
        read_cut(format!("{bare}{}{bare}", line(&rmc("120001", "A", "010124"))).as_bytes(), 50);
    assert_eq!((fixes.len(), counts.missing_checksums, counts.sentences), (1, 2, 1));
}

#[test]
fn a_hundred_epochs_a_second_are_a_hundred() {
    let log: String = (0..100).map(|n| line(&rmc(&format!("120000.{n:02}"), "A", "010124"))).collect();
    assert_eq!(read(log).len(), 100);
    let of =
        |n: u32, body: fn(&str) -> String| line(&body(&format!("1200{:02}.{:03}", n / 200, n % 200 * 5)));
    let log: String =
        (0..500).flat_map(|n| [of(n, |t| gga(t, 1)), of(n, |t| rmc(t, "A", "010124"))]).collect();
    assert_eq!(read(log).len(), 500, "and two hundred are two hundred");
}

#[test]
fn comments_are_passed_over() {
    let (a, b) = (line(&rmc("120000", "A", "010124")), line(&rmc("120001", "A", "010124")));
    let (fixes, counts) = read_cut(format!("# of café: {a}{b}").as_bytes(), 1);
    assert_eq!((fixes.len(), counts.junk_bytes), (1, 0));
    assert_eq!(read(format!("$GPTXT,01,01,02,#*00\r\n#\u{1}{a}")).len(), 1, "binary data is no comment");
}

#[test]
fn a_pause_ends_the_epoch_and_stragglers_do_not_repeat_it() {
    let mut reader = Reader::new();
    let (mut pushed, mut paused) = (Vec::new(), Vec::new());
    reader.push(line(&gga("120000", 1)).as_bytes(), |f| pushed.push(f));
    assert_eq!(pushed, []);
    reader.pause(|f| paused.push(f));
    assert_eq!(paused.len(), 1);
    reader.push(line(&rmc("120000", "A", "010124")).as_bytes(), |f| pushed.push(f));
    reader.pause(|f| paused.push(f));
    assert_eq!((pushed.len(), paused.len()), (0, 1));
    reader.push(line(&gga("120001", 1)).as_bytes(), |f| pushed.push(f));
    reader.pause(|f| paused.push(f));
    assert_eq!(paused[1].day, days(2024, 1, 1), "but their date is kept");
}

#[test]
fn a_fix_came_when_its_first_byte_came() {
    let (mut reader, mut came) = (Reader::new(), Vec::new());
    let epoch = |n: u32| {
        log(&["GPGSV,1,1,00", &gga(&format!("12000{n}"), 1), &rmc(&format!("12000{n}"), "A", "010124")])
    };
    for n in 0..3 {
        for (i, byte) in epoch(n).bytes().enumerate() {
            reader.push_at(&[byte], u64::from(n) * 1_000_000 + i as u64, |fix| came.push(fix.came_us));
        }
    }
    reader.pause(|fix| came.push(fix.came_us));
    let gga_at = line("GPGSV,1,1,00").len() as u64;
    assert_eq!(came, [gga_at, 1_000_000 + gga_at, 2_000_000 + gga_at]);
}

/// Binary messages of seconds that follow each other.
fn binary(seconds: std::ops::Range<u8>) -> Vec<u8> {
    seconds.flat_map(|second| message(&[(10, &[second])])).collect()
}

fn times(fixes: &[Fix]) -> Vec<u64> {
    fixes.iter().map(|f| f.time_of_day.unwrap() / 1_000_000_000 - 43_200).collect()
}

#[test]
fn a_receiver_that_speaks_binary_is_found_out_however_its_bytes_are_cut() {
    for cut in [1, 7, 99, 100, 1000] {
        let (fixes, counts) = read_cut(&binary(0..5), cut);
        assert_eq!(times(&fixes), [0, 1, 2, 3, 4], "cut in pieces of {cut}");
        assert_eq!((counts.binary, counts.fixes, counts.junk_bytes, counts.unreadable()), (5, 5, 0, 0));
    }
}

#[test]
fn what_only_begins_like_a_binary_message_hides_nothing() {
    let sentence = line(&rmc("120001", "A", "290224"));
    for beginning in [&b"\xb5"[..], b"\xb5\x62", b"\xb5\xb5\x62\x01\x07", b"\xb5\x62\x01\x07\x5c\x00"] {
        let log = [beginning, sentence.as_bytes(), &binary(2..3), beginning, &binary(3..4)].concat();
        let (fixes, _) = read_cut(&log, 1);
        assert_eq!(times(&fixes).first(), Some(&1), "{beginning:x?}");
    }
    // One inside of the other: the damaged one is given back and the whole one in it is found.
    let log = [&binary(1..2)[..60], &binary(2..3), &binary(3..4)].concat();
    assert_eq!(times(&read_cut(&log, 7).0), [2, 3]);
}

#[test]
fn a_damaged_binary_message_gives_nothing_and_is_counted() {
    let mut log = binary(0..3);
    log[150] ^= 1;
    let (fixes, counts) = read_cut(&log, 33);
    assert_eq!((times(&fixes), counts.bad_checksums), (vec![0, 2], 1));
}

#[test]
fn a_receiver_that_sends_both_gives_each_moment_once() {
    let both = |second: u8| {
        let time = format!("1200{second:02}");
        [
            message(&[(10, &[second])]).to_vec(),
            log(&[&gga(&time, 1), &rmc(&time, "A", "290224")]).into_bytes(),
        ]
        .concat()
    };
    let mut stream: Vec<u8> = (0..5).flat_map(both).collect();
    assert_eq!(times(&read(&stream)), [0, 1, 2, 3, 4]);
    // It falls silent in sentences, and comes back.
    stream.extend(binary(5..10));
    stream.extend((10..13).flat_map(both));
    assert_eq!(times(&read(&stream)), [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]);
}

#[test]
fn a_reader_of_sentences_takes_binary_messages_for_junk() {
    let mut reader = Reader::of_sentences();
    reader.push(&binary(0..9), |fix| panic!("{fix:?}"));
    reader.end(|fix| panic!("{fix:?}"));
    assert_eq!((reader.counts().binary, reader.counts().junk_bytes > 0), (0, true));
}

#[test]
fn a_binary_message_without_a_fix_is_counted() {
    let (fixes, counts) = read_cut(&message(&[(20, &[0, 0])]), 50);
    assert_eq!((fixes, counts.without_fix, counts.binary), (vec![], 1, 1));
}

/// Every position in a sentence of `log` whose checksum fits, by a search that knows nothing of the reader's states.
fn positions_in(log: &[u8]) -> Vec<(i32, i32)> {
    let mut found = Vec::new();
    for (start, _) in log.iter().enumerate().filter(|(_, b)| **b == b'$') {
        let rest = &log[start + 1..];
        let end = rest.iter().position(|b| *b == b'\r' || *b == b'\n').unwrap_or(rest.len());
        if let (Check::Good, body) = check(&rest[..end]) {
            let sentence = Sentence::split(body);
            found.extend((1..4).filter_map(|i| sentence.position(i)));
        }
    }
    found
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 1usize..300) {
        read_cut(&bytes, cut);
    }

    #[test]
    fn nothing_that_looks_like_nmea_makes_it_panic(bodies in prop::collection::vec(
        "(GP|GN|P)(RMC|GGA|GLL|GNS|VTG|GSA|ZDA),[0-9.,NSEWAVD\\-]{0,80}", 0..40)) {
        read(log(&bodies.iter().map(String::as_str).collect::<Vec<_>>()));
    }

    #[test]
    fn damage_never_invents_a_position(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..4), 1..60),
    ) {
        let clean: Vec<String> = (0..30).flat_map(|s| {
            let time = format!("1200{s:02}");
            let (lat, lon) = (4807 + s, 1131 + s);
            [line(&format!("GPRMC,{time},A,{lat}.0380,N,0{lon}.0000,E,10.0,084.4,010124,003.1,W,A")),
             line(&format!("GPGGA,{time},{lat}.0380,N,0{lon}.0000,E,1,08,0.9,545.4,M,46.9,M,,")), line(GSA_3D)]
        }).collect();
        let mut log = clean.concat().into_bytes();
        for (at, byte, how) in changes {
            let at = at.index(log.len());
            match how {
                0 => log[at] = byte,
                1 => _ = log.remove(at),
                2 => log.insert(at, byte),
                _ => { let to = (at + usize::from(byte)).min(log.len()); log.drain(at..to); if log.is_empty() { log.push(0) } }
            }
        }
        let said = positions_in(&log);
        for fix in read(&log) {
            prop_assert!(said.contains(&(fix.lat_e7, fix.lon_e7)), "{fix:?}");
        }
    }
}
