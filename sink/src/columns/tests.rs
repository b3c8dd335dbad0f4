use super::*;
use milepost_wire::{Column, ColumnSpec, Validity};

fn int(name: &str, values: &[i64]) -> Column {
    let mut column = Column::new(ColumnSpec::new(name, Kind::Int).unwrap());
    column.values = Values::Int(values.to_vec());
    column
}

fn float(name: &str, values: &[f64]) -> Column {
    let mut column = Column::new(ColumnSpec::new(name, Kind::Float).unwrap());
    column.values = Values::Float(values.to_vec());
    column
}

fn flag(name: &str) -> Column {
    let mut column = Column::new(ColumnSpec::new(name, Kind::Bool).unwrap());
    column.values = Values::Bool(vec![true]);
    column
}

fn nothing(mut column: Column) -> Column {
    column.validity = Some(Validity::none_set(column.len()));
    column
}

/// Sends frames through a table's life; gives the names that each frame's columns went to, and the list.
fn life(frames: &[&[Column]]) -> (Vec<Vec<String>>, Columns) {
    let mut columns = Columns::default();
    let mut went = Vec::new();
    for frame in frames {
        let wants = Want::of(frame);
        columns = columns.with(&wants);
        let places = columns.places(&wants).expect("there is room");
        went.push(places.into_iter().map(|i| columns.get(i).name.clone()).collect());
    }
    // Every frame has the same place under the last list as under its own.
    for (frame, went) in frames.iter().zip(&went) {
        let places = columns.places(&Want::of(frame)).unwrap();
        assert_eq!(&places.into_iter().map(|i| columns.get(i).name.clone()).collect::<Vec<_>>(), went);
    }
    (went, columns)
}

#[test]
fn integers_go_into_doubles_where_they_are_exact_and_beside_them_where_not() {
    let (went, columns) = life(&[
        &[float("x", &[0.5])],
        &[int("x", &[1 << 53, -(1 << 53)])],
        &[int("x", &[1, (1 << 53) + 1])],
        &[int("x", &[i64::MIN])],
        &[int("x", &[7])],
    ]);
    assert_eq!(went, [["x"], ["x"], ["x_2"], ["x_2"], ["x"]]);
    let kinds: Vec<_> = columns.iter().map(|c| (c.name.as_str(), c.of.as_str(), c.kind)).collect();
    assert_eq!(kinds, [("x", "x", Type::Double), ("x_2", "x", Type::Bigint)]);
}

#[test]
fn a_column_never_changes_its_type() {
    let (went, _) = life(&[&[int("x", &[1])], &[float("x", &[2.0])], &[flag("x")], &[int("x", &[3])]]);
    assert_eq!(went, [["x"], ["x_2"], ["x_3"], ["x"]]);
}

#[test]
fn what_has_no_value_fits_anywhere_and_makes_no_second_column() {
    let (went, columns) =
        life(&[&[flag("x")], &[nothing(int("x", &[0, 0]))], &[nothing(float("y", &[0.0]))]]);
    assert_eq!(went, [["x"], ["x"], ["y"]]);
    assert_eq!(columns.len(), 2);
}

#[test]
fn names_that_every_table_has_or_another_column_has_get_another() {
    let (went, _) = life(&[
        &[int("ts", &[1]), int("dt", &[1]), int("seq_value", &[1]), int("seq", &[1])],
        &[int("x_2", &[1]), int("x", &[1])],
        &[flag("x"), flag("x_2")],
    ]);
    let expected =
        [vec!["ts_value", "dt_value", "seq_value", "seq_value_2"], vec!["x_2", "x"], vec!["x_3", "x_2_2"]];
    assert_eq!(went, expected);
}

#[test]
fn two_columns_of_one_frame_never_share_a_column_of_the_table() {
    let (went, columns) = life(&[&[float("x", &[0.5]), int("x", &[1]), nothing(flag("x"))]]);
    assert_eq!(went, [["x", "x_2", "x_3"]]);
    assert_eq!(
        columns.iter().map(|c| c.kind).collect::<Vec<_>>(),
        [Type::Double, Type::Bigint, Type::Boolean]
    );
}

#[test]
fn a_table_that_is_full_refuses_what_is_new_and_takes_what_it_knows() {
    let mut columns = Columns::default();
    for n in 0..MOST - 1 {
        columns = columns.with(&Want::of(&[int(&format!("c{n}"), &[1])]));
    }
    let two = Want::of(&[int("a", &[1]), int("b", &[1])]);
    assert_eq!(columns.with(&two), columns);
    assert_eq!(columns.places(&two), None);
    // Refused once is refused for ever: whoever adds one of the two takes the last place.
    let full = columns.with(&two[..1]);
    assert_eq!(full.len(), MOST);
    assert_eq!(full.with(&two), full);
    assert_eq!(full.places(&two), None);
    assert_eq!(full.places(&Want::of(&[int("c7", &[1])])), Some(vec![7]));
}

#[test]
fn the_rules_hold_for_any_order_of_frames() {
    let pool = [
        int("x", &[1]),
        int("x", &[i64::MAX]),
        float("x", &[0.1]),
        flag("x"),
        nothing(flag("x")),
        int("x_2", &[5]),
        float("x_2", &[0.5]),
        int("dt", &[1]),
    ];
    let mut state = 7_u64;
    let mut next = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for _ in 0..300 {
        let frames: Vec<Vec<Column>> =
            (0..6).map(|_| (0..=next(3)).map(|_| pool[next(pool.len())].clone()).collect()).collect();
        let frames: Vec<&[Column]> = frames.iter().map(Vec::as_slice).collect();
        let (went, columns) = life(&frames);
        for names in went {
            let distinct: std::collections::HashSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len());
        }
        let names: std::collections::HashSet<_> = columns.iter().map(|c| &c.name).collect();
        assert_eq!(names.len(), columns.len());
    }
}
