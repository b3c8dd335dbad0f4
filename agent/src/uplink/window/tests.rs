use super::*;

const LIMITS: Limits =
    Limits { records: 4, bytes: 1000, wait_min: Duration::from_secs(1), wait_max: Duration::from_secs(60) };
const OPEN: Broker = Broker { receive_max: 100, max_packet: None };
const NOW: Duration = Duration::ZERO;

fn record(id: u32) -> Outgoing<u32> {
    sized(id, 10)
}

fn sized(id: u32, len: usize) -> Outgoing<u32> {
    Outgoing { id, topic: "milepost/v1/v/gps_data".into(), payload: vec![0; len].into() }
}

fn up(broker: Broker) -> Window<u32> {
    let mut window = Window::new(LIMITS);
    window.connected(broker);
    window
}

/// Sends `ids` under packet ids that count from `first`, as the client does.
fn send_all(window: &mut Window<u32>, ids: impl IntoIterator<Item = u32>, first: u16) {
    for (packet, id) in (first..).zip(ids) {
        assert!(window.has_room(), "{id}");
        window.send(record(id)).unwrap();
        window.written(packet);
    }
}

fn lost(window: &mut Window<u32>) -> AfterLoss<u32> {
    window.lost(&Loss::Connection("gone".into()), u64::MAX)
}

fn objected(window: &mut Window<u32>) -> AfterLoss<u32> {
    window.lost(&Loss::Objection("too large".into()), u64::MAX)
}

#[test]
fn answers_out_of_order_name_their_own_records() {
    let mut window = up(OPEN);
    send_all(&mut window, [10, 11, 12], 1);
    assert_eq!(window.answered(3, Answer::Taken, NOW), Outcome::Delivered(12, 10));
    assert_eq!(window.answered(1, Answer::Taken, NOW), Outcome::Delivered(10, 10));
    assert_eq!(window.pending(), 1);
    assert_eq!(window.answered(2, Answer::Taken, NOW), Outcome::Delivered(11, 10));
    assert_eq!(window.pending(), 0);
}

#[test]
fn the_window_counts_from_the_oldest_without_an_answer_so_that_packet_ids_never_meet() {
    let mut window = up(OPEN);
    send_all(&mut window, 0..4, 1);
    for packet in 2..=4 {
        window.answered(packet, Answer::Taken, NOW);
    }
    assert!(!window.has_room(), "packet 1 still has its id, and the fifth would get it too");
    window.answered(1, Answer::Taken, NOW);
    assert!(window.has_room());
    send_all(&mut window, 4..8, 1);
    assert_eq!(window.answered(1, Answer::Taken, NOW), Outcome::Delivered(4, 10));
}

#[test]
fn an_answer_to_a_packet_of_an_earlier_connection_is_stale() {
    let mut window = up(OPEN);
    send_all(&mut window, [1, 2], 1);
    lost(&mut window);
    window.connected(OPEN);
    assert_eq!(window.answered(2, Answer::Taken, NOW), Outcome::Stale);
    send_all(&mut window, [1], 1);
    assert_eq!(window.answered(2, Answer::Taken, NOW), Outcome::Stale, "2 is not written yet");
    assert_eq!(window.answered(1, Answer::Taken, NOW), Outcome::Delivered(1, 10));
    assert_eq!(window.answered(1, Answer::Taken, NOW), Outcome::Stale, "twice");
}

#[test]
fn nothing_is_sent_without_a_connection() {
    let mut window = up(OPEN);
    lost(&mut window);
    assert!(!window.has_room());
}

#[test]
fn the_broker_s_receive_maximum_is_kept() {
    let mut window = up(Broker { receive_max: 1, max_packet: None });
    send_all(&mut window, [1], 1);
    assert!(!window.has_room());
    window.answered(1, Answer::Taken, NOW);
    assert!(window.has_room());
}

#[test]
fn bytes_are_bounded_but_one_record_always_goes() {
    let mut window = up(OPEN);
    window.send(sized(1, 5000)).unwrap();
    assert!(!window.has_room());
    window.written(1);
    window.answered(1, Answer::Taken, NOW);
    assert!(window.has_room());
}

#[test]
fn a_record_above_the_broker_s_limit_comes_back() {
    let mut window = up(Broker { receive_max: 10, max_packet: Some(100) });
    assert_eq!(window.send(sized(1, 100)).unwrap_err().id, 1);
    window.send(sized(2, 60)).unwrap();
    assert_eq!(window.pending(), 1);
}

#[test]
fn a_refused_record_is_sent_again_later_and_longer_apart() {
    let mut window = up(OPEN);
    send_all(&mut window, [1, 2], 1);
    let refused = Answer::Refused("not authorised");
    assert_eq!(window.answered(1, refused, NOW), Outcome::Later("not authorised"));
    assert_eq!(window.due(NOW), None);
    assert_eq!(window.next_due(), Some(Duration::from_secs(1)));
    assert_eq!(window.pending(), 2, "it still counts as on its way");
    let again = window.due(Duration::from_secs(1)).unwrap();
    assert_eq!(again, record(1));
    window.send(again).unwrap();
    window.written(3);
    window.answered(3, refused, NOW);
    assert_eq!(window.next_due(), Some(Duration::from_secs(2)));
    assert_eq!(window.answered(2, Answer::Taken, NOW), Outcome::Delivered(2, 10), "others go on");
}

#[test]
fn refused_records_are_bounded() {
    let mut window = up(OPEN);
    for id in 0..4 {
        send_all(&mut window, [id], id as u16 + 1);
        window.answered(id as u16 + 1, Answer::Refused("quota"), NOW);
    }
    assert!(window.has_room() && !window.takes_new());
    lost(&mut window);
    assert_eq!(window.pending(), 0, "a new connection reads all of them from the spool again");
}

#[test]
fn waits_double_up_to_the_longest_and_a_delivery_starts_over() {
    let mut window = up(OPEN);
    let waits: Vec<u64> = (0..9).map(|_| lost(&mut window).wait.as_millis() as u64).collect();
    let expected: [u64; 9] = [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000];
    for (wait, expected) in waits.iter().zip(expected) {
        assert!(wait.abs_diff(expected) <= 1, "{waits:?}");
    }
    window.connected(OPEN);
    assert!(lost(&mut window).wait > Duration::from_secs(50), "to be let in is not yet success");
    window.connected(OPEN);
    send_all(&mut window, [1], 1);
    window.answered(1, Answer::Taken, NOW);
    assert!(lost(&mut window).wait <= Duration::from_secs(1));
}

#[test]
fn jitter_spreads_between_half_and_all() {
    let wait = Duration::from_secs(10);
    assert_eq!(jitter(wait, 0), wait / 2);
    assert!(jitter(wait, u64::MAX) <= wait && jitter(wait, u64::MAX) > wait * 9 / 10);
}

#[test]
fn the_record_that_a_broker_objects_to_is_found_one_at_a_time_and_given_up_after_three_strikes() {
    let mut window = up(OPEN);
    send_all(&mut window, [1, 2, 3], 1);
    assert_eq!(objected(&mut window).hopeless, None, "one of three: which is not known");
    window.connected(OPEN);
    send_all(&mut window, [1], 1);
    assert!(!window.has_room(), "one at a time now");
    window.answered(1, Answer::Taken, NOW);
    for strike in 1..=3 {
        assert!(window.has_room());
        send_all(&mut window, [2], 2);
        let after = objected(&mut window);
        assert_eq!(after.hopeless.map(|r| r.id), (strike == 3).then_some(2), "strike {strike}");
        window.connected(OPEN);
    }
    send_all(&mut window, [3], 1);
    window.answered(1, Answer::Taken, NOW);
    send_all(&mut window, 4..6, 2);
    assert!(window.pending() == 2, "all that were under suspicion are through: the window is wide again");
}

#[test]
fn a_lost_network_never_makes_a_record_hopeless() {
    let mut window = Window::new(LIMITS);
    for _ in 0..100 {
        window.connected(OPEN);
        send_all(&mut window, [1], 1);
        assert_eq!(lost(&mut window).hopeless, None);
    }
}
