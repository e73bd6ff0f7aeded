//! Lists of deliveries: whole, in order, page by page, while deliveries end.

mod support;

use delivery::Offset;
use flows::desk::{DeliveryFilter, Desk};
use flows::outlet::Row;
use serde_json::json;
use std::collections::BTreeSet;
use support::target::Mood;
use support::world::kept;
use support::{World, plan};

/// One page: flow and row of each, and what the next page begins behind.
fn page(desk: &Desk, filter: &DeliveryFilter, after: Option<&str>, limit: usize) -> (Vec<Row>, Option<String>) {
    let mut list = desk.list_deliveries(filter.clone(), after, limit).expect("a list");
    while desk.look_on(&mut list) {}
    let (places, next) = list.page(desk);
    (places.into_iter().filter_map(|place| desk.delivery(place)).map(|(_, row)| row).collect(), next)
}

/// 150 events that wait for each of two flows; a third flow wants none of them.
fn waiting() -> (World, Vec<Offset>) {
    let patient = |name: &str| {
        let mut flow = plan::subscriber(name, "stop");
        (flow.policy.window, flow.policy.attempts) = (1_000, 1_000);
        flow
    };
    let mut world = World::new(5, kept(), move || {
        plan::settings(vec![patient("maint"), patient("pager"), plan::subscriber("idle", "nothing")])
    });
    world.target("maint").mood = Mood::Down;
    world.target("pager").mood = Mood::Down;
    let offsets = (0..150).map(|n| {
        let now = world.now();
        world.publish(plan::event("stop", &format!("e{n}"), "line1", now, None, json!({ "n": n })))
    });
    let offsets = offsets.collect();
    world.run(support::S);
    (world, offsets)
}

#[test]
fn pages_hold_every_delivery_once_and_the_newest_first() {
    let (world, offsets) = waiting();
    let (mut seen, mut after) = (Vec::new(), None);
    for _ in 0..1_000 {
        let (rows, next) = page(&world.desk, &DeliveryFilter::default(), after.as_deref(), 7);
        assert!(rows.len() == 7 || next.is_none());
        seen.extend(rows.into_iter().map(|row| (row.offset, row.id)));
        after = next;
        if after.is_none() {
            break;
        }
    }
    let newest_first = offsets.iter().rev();
    let expected: Vec<(u64, String)> = newest_first
        .flat_map(|offset| ["maint", "pager"].map(|flow| (offset.0, format!("{flow}@{}", offset.0))))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_filter_leaves_out_what_is_not_wanted() {
    let (mut world, offsets) = waiting();
    let of = |world: &World, filter: DeliveryFilter| page(&world.desk, &filter, None, 1_000).0;
    let ids = |rows: Vec<Row>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    let message = page(&world.desk, &DeliveryFilter::default(), None, 1).0.remove(0).message;
    let both = ["maint", "pager"].map(|flow| format!("{flow}@{}", offsets[149].0));
    assert_eq!(ids(of(&world, DeliveryFilter { message: Some(message), ..DeliveryFilter::default() })), both);
    assert_eq!(ids(of(&world, DeliveryFilter { offset: Some(offsets[149]), ..DeliveryFilter::default() })), both);
    assert_eq!(of(&world, DeliveryFilter { flow: Some(1), ..DeliveryFilter::default() }).len(), 150);
    assert_eq!(of(&world, DeliveryFilter { flow: Some(2), ..DeliveryFilter::default() }), []);
    assert_eq!(of(&world, DeliveryFilter { flow: Some(3), ..DeliveryFilter::default() }), [], "there is no such flow");
    assert_eq!(of(&world, DeliveryFilter { key: Some("nobody's".to_owned()), ..DeliveryFilter::default() }), []);
    let delivered = DeliveryFilter { states: vec!["delivered"], ..DeliveryFilter::default() };
    assert_eq!(of(&world, delivered.clone()), []);
    world.target("maint").mood = Mood::Up;
    world.target("pager").mood = Mood::Up;
    world.settle();
    assert_eq!(of(&world, delivered).len(), 300);
    let name = format!("maint@{}", offsets[149].0);
    assert_eq!(world.desk.delivery_state(&name), Some("delivered"));
    assert_eq!(world.desk.delivery_state("maint@1.x"), None);
    world.check();
}

#[test]
fn what_ends_while_a_list_is_made_is_shown_once() {
    let (mut world, offsets) = waiting();
    let mut list = world.desk.list_deliveries(DeliveryFilter::default(), None, 1_000).expect("a list");
    assert!(world.desk.look_on(&mut list), "there is more than one part looks at");
    world.target("maint").mood = Mood::Up;
    world.target("pager").mood = Mood::Up;
    world.settle();
    while world.desk.look_on(&mut list) {}
    let (places, next) = list.page(&world.desk);
    let rows: Vec<Row> =
        places.into_iter().filter_map(|place| world.desk.delivery(place)).map(|(_, row)| row).collect();
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!((rows.len(), ids.len(), next), (300, 300, None));
    assert!(rows.iter().all(|row| row.state == "delivered"), "as they are when the row is made");
    assert!(offsets.iter().all(|offset| ids.contains(format!("pager@{}", offset.0).as_str())));
}

#[test]
fn a_page_begins_behind_a_delivery_that_is_gone_but_behind_nothing_else() {
    let (world, offsets) = waiting();
    // between two that are there, and none itself
    let between = format!("maint@{}", offsets[1].0 - 1);
    let (rows, next) = page(&world.desk, &DeliveryFilter::default(), Some(&between), 10);
    assert_eq!((rows.len(), next), (2, None));
    for wrong in ["", "maint", "maint@", "maint@x", "nobody@1", "maint@1.-1"] {
        assert!(world.desk.list_deliveries(DeliveryFilter::default(), Some(wrong), 10).is_none(), "{wrong:?}");
    }
}
