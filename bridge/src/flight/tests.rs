use super::*;
use proptest::prelude::*;

const T0: Duration = Duration::ZERO;
const RETRY: Duration = Duration::from_secs(1);

fn flight() -> Flight {
    Flight::new(RETRY, 1000)
}

fn receive(flight: &mut Flight, packet_id: u16, payload: &[u8]) {
    let to = Route::Stream { topic: "gps_data", vehicle: VehicleId::new("v").unwrap() };
    flight.received(Some(packet_id), Bytes::from_static(b"t"), Bytes::copy_from_slice(payload), to);
}

fn produce_all(flight: &mut Flight, producer: u32, now: Duration) -> Vec<Seq> {
    let mut sent = Vec::new();
    while let Some((seq, _)) = flight.next(now) {
        flight.produced(seq, producer);
        sent.push(seq);
    }
    sent
}

fn acks(flight: &mut Flight) -> Vec<u16> {
    std::iter::from_fn(|| flight.pop_ack()).collect()
}

#[test]
fn acknowledgements_wait_for_the_report_of_every_earlier_frame() {
    let mut f = flight();
    (1..=3).for_each(|id| receive(&mut f, id, b"x"));
    let sent = produce_all(&mut f, 0, T0);
    assert!(acks(&mut f).is_empty());
    assert_eq!(f.reported(sent[2], 0, Ok(()), T0), Landed::Delivered);
    assert_eq!(f.reported(sent[1], 0, Ok(()), T0), Landed::Delivered);
    assert!(acks(&mut f).is_empty());
    f.reported(sent[0], 0, Ok(()), T0);
    assert_eq!(acks(&mut f), [1, 2, 3]);
    assert_eq!((f.len(), f.bytes()), (0, 0));
}

#[test]
fn a_passing_failure_is_produced_again_after_a_pause_and_holds_the_acknowledgement() {
    let mut f = flight();
    receive(&mut f, 1, b"x");
    let seq = produce_all(&mut f, 0, T0)[0];
    assert_eq!(f.reported(seq, 0, Err(Failure::Passing), T0), Landed::Again);
    assert!(f.next(RETRY / 2).is_none());
    assert_eq!(f.next_due(), Some(RETRY));
    assert_eq!(produce_all(&mut f, 0, RETRY), [seq]);
    assert!(acks(&mut f).is_empty());
    f.reported(seq, 0, Ok(()), RETRY);
    assert_eq!(acks(&mut f), [1]);
}

#[test]
fn a_refused_record_becomes_a_dead_letter_and_is_acknowledged_only_as_such() {
    let mut f = flight();
    receive(&mut f, 1, b"x");
    let seq = produce_all(&mut f, 0, T0)[0];
    f.reported(seq, 0, Err(Failure::Refused("no".into())), T0);
    let (_, item) = f.next(T0).unwrap();
    assert!(matches!(&item.goal, Goal::Dead { reason, .. } if reason.code == "kafka"), "{item:?}");
    produce_all(&mut f, 0, T0);
    assert!(acks(&mut f).is_empty());
    assert_eq!(f.reported(seq, 0, Ok(()), T0), Landed::DeadLettered("kafka"));
    assert_eq!(acks(&mut f), [1]);
}

#[test]
fn a_dead_letter_that_fails_is_tried_for_ever_and_never_acknowledged() {
    let mut f = flight();
    receive(&mut f, 1, b"x");
    let mut now = T0;
    for failure in [Failure::Refused("a".into()), Failure::Refused("b".into()), Failure::TooLarge("c".into())]
    {
        let seq = produce_all(&mut f, 0, now)[0];
        f.reported(seq, 0, Err(failure), now);
        now += RETRY;
        assert!(acks(&mut f).is_empty());
    }
    let seq = produce_all(&mut f, 0, now)[0];
    assert_eq!(f.reported(seq, 0, Ok(()), now), Landed::DeadLettered("kafka"));
    assert_eq!(acks(&mut f), [1]);
}

#[test]
fn a_dead_letter_that_is_too_large_goes_in_parts_that_give_the_frame_back() {
    let frame: Vec<u8> = (0..2500u32).map(|i| i as u8).collect();
    let mut f = flight();
    receive(&mut f, 1, &frame);
    let mut got = Vec::new();
    for too_large in [true, true, true, false, false, false] {
        assert!(acks(&mut f).is_empty());
        let (seq, item) = f.next(T0).unwrap();
        let value = item.value().to_vec();
        f.produced(seq, 0);
        if too_large {
            f.reported(seq, 0, Err(Failure::TooLarge("big".into())), T0);
        } else {
            assert!(value.len() <= 1000);
            got.extend(value);
            f.reported(seq, 0, Ok(()), T0);
        }
    }
    assert_eq!(got, frame);
    assert_eq!(acks(&mut f), [1]);
}

#[test]
fn a_frame_whose_batch_was_too_large_is_tried_alone_before_it_is_a_dead_letter() {
    let mut f = flight();
    (1..=2).for_each(|id| receive(&mut f, id, b"x"));
    let sent = produce_all(&mut f, 0, T0);
    for seq in &sent {
        assert_eq!(f.reported(*seq, 0, Err(Failure::TooLarge("batch".into())), T0), Landed::Again);
    }
    for seq in &sent {
        let (next, item) = f.next(T0).unwrap();
        assert_eq!((next, item.alone, &item.goal), (*seq, true, &Goal::Stream("gps_data")));
        f.produced(next, 0);
    }
    assert_eq!(f.reported(sent[0], 0, Ok(()), T0), Landed::Delivered);
    f.reported(sent[1], 0, Err(Failure::TooLarge("itself".into())), T0);
    assert!(matches!(f.next(T0).unwrap().1.goal, Goal::Dead { .. }));
    assert_eq!(acks(&mut f), [1]);
}

#[test]
fn a_new_producer_takes_over_what_has_no_report_in_order() {
    let mut f = flight();
    (1..=4).for_each(|id| receive(&mut f, id, b"x"));
    for _ in 0..3 {
        let (seq, _) = f.next(T0).unwrap();
        f.produced(seq, 0);
    }
    f.reported(1, 0, Ok(()), T0);
    f.producer_replaced(1);
    assert_eq!(produce_all(&mut f, 1, T0), [0, 2, 3]);
    // What the old one still says is of no account.
    assert_eq!(f.reported(0, 0, Err(Failure::Refused("fatal".into())), T0), Landed::Nothing);
    for seq in [0, 2, 3] {
        assert_eq!(f.reported(seq, 1, Ok(()), T0), Landed::Delivered);
    }
    assert_eq!(acks(&mut f), [1, 2, 3, 4]);
}

#[test]
fn what_came_over_a_lost_connection_is_never_acknowledged_on_the_next() {
    let mut f = flight();
    (1..=2).for_each(|id| receive(&mut f, id, b"old"));
    let old = produce_all(&mut f, 0, T0);
    f.disconnected();
    (1..=2).for_each(|id| receive(&mut f, id, b"new"));
    let new = produce_all(&mut f, 0, T0);
    old.iter().for_each(|seq| assert_eq!(f.reported(*seq, 0, Ok(()), T0), Landed::Delivered));
    assert!(acks(&mut f).is_empty());
    new.iter().for_each(|seq| assert_eq!(f.reported(*seq, 0, Ok(()), T0), Landed::Delivered));
    assert_eq!(acks(&mut f), [1, 2]);
}

#[derive(Clone, Debug)]
enum Step {
    Receive { qos0: bool },
    Produce,
    Report { which: usize, outcome: u8 },
    Disconnect,
    Replace,
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => any::<bool>().prop_map(|qos0| Step::Receive { qos0 }),
        5 => Just(Step::Produce),
        9 => (any::<usize>(), 0..6u8).prop_map(|(which, outcome)| Step::Report { which, outcome }),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Replace),
        2 => Just(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: a packet is acknowledged once, in receive order, over its own connection,
    /// only after a report said that its record is written; and in the end all of them are.
    #[test]
    fn packets_are_acknowledged_after_their_report_in_order(steps in prop::collection::vec(step(), 1..400)) {
        let (mut f, mut now, mut producer) = (flight(), T0, 0u32);
        // By seq: packet id and connection. Reports that are due, and what was written.
        let (mut received, mut due, mut written) = (Vec::new(), Vec::new(), Vec::new());
        let (mut connection, mut next_ack, mut packet) = (0u32, 0usize, 0u16);
        for step in steps.into_iter().chain((0..2000).flat_map(|_| [
            Step::Wait, Step::Produce, Step::Report { which: 0, outcome: 0 },
        ])) {
            match step {
                Step::Receive { qos0 } => {
                    packet += 1;
                    let to = Route::Stream { topic: "gps_data", vehicle: VehicleId::new("v").unwrap() };
                    let id = (!qos0).then_some(packet);
                    f.received(id, Bytes::from_static(b"t"), Bytes::from(vec![0; 1500]), to);
                    received.push((id, connection));
                    written.push(false);
                }
                Step::Produce => due.extend(produce_all(&mut f, producer, now).into_iter().map(|s| (s, producer))),
                Step::Report { which, outcome } if !due.is_empty() => {
                    let (seq, by) = due.swap_remove(which % due.len());
                    let result = match outcome {
                        0..=2 => Ok(()),
                        3 => Err(Failure::Passing),
                        4 => Err(Failure::Refused(String::new())),
                        _ => Err(Failure::TooLarge(String::new())),
                    };
                    let landed = f.reported(seq, by, result, now);
                    if matches!(landed, Landed::Delivered | Landed::DeadLettered(_)) {
                        written[seq as usize] = true;
                    }
                }
                Step::Report { .. } => {}
                Step::Disconnect => {
                    f.disconnected();
                    connection += 1;
                    next_ack = received.len();
                }
                Step::Replace => {
                    producer += 1;
                    f.producer_replaced(producer);
                }
                Step::Wait => now += RETRY,
            }
            while let Some(id) = f.pop_ack() {
                while received[next_ack].0.is_none() {
                    next_ack += 1;
                }
                prop_assert_eq!((Some(id), connection), received[next_ack]);
                prop_assert!(written[next_ack], "acknowledged before it was written");
                next_ack += 1;
            }
        }
        prop_assert_eq!((f.len(), f.bytes()), (0, 0));
        prop_assert!(received[next_ack..].iter().all(|(id, _)| id.is_none()), "some have no acknowledgement");
    }
}
