use super::*;
use config::{RegisterAddress, WordOrder};
use proptest::prelude::*;
use std::time::Duration;

fn tag(area: Area, address: u16, kind: RegisterType) -> ModbusTag {
    ModbusTag {
        name: "t".into(),
        at: RegisterAddress { area, address, bit: None },
        kind,
        order: WordOrder::Abcd,
        scale: 1.0,
        offset: 0.0,
        unit: None,
        range: None,
        deadband: 0.0,
        heartbeat: Duration::ZERO,
        every: None,
    }
}

fn points(tags: &[ModbusTag]) -> Vec<Point> {
    tags.iter().zip(0..).filter_map(|(tag, i)| Point::new(i, tag)).collect()
}

const LIMITS: Limits = Limits { gap: 16, registers: 125, bits: 2000 };

#[test]
fn close_tags_share_a_request_and_areas_never_do() {
    let tags = [
        tag(Area::HoldingRegister, 30, RegisterType::U16),
        tag(Area::HoldingRegister, 0, RegisterType::F32),
        tag(Area::HoldingRegister, 2, RegisterType::F32),
        tag(Area::HoldingRegister, 20, RegisterType::U32),
        tag(Area::InputRegister, 10, RegisterType::I16),
        tag(Area::Coil, 0, RegisterType::Bool),
        tag(Area::HoldingRegister, 200, RegisterType::U16),
    ];
    let plan = plan(points(&tags), &LIMITS);
    let seen: Vec<_> = plan.blocks.iter().map(|b| (b.function.code(), b.address, b.quantity, b.count)).collect();
    assert_eq!(seen, [(1, 0, 1, 1), (4, 10, 1, 1), (3, 0, 31, 4), (3, 200, 1, 1)]);
}

#[test]
fn what_no_request_can_read_is_named() {
    let tags = [
        tag(Area::HoldingRegister, 65_535, RegisterType::U32),
        tag(Area::HoldingRegister, 65_535, RegisterType::U16),
        tag(Area::HoldingRegister, 0, RegisterType::Text { registers: 126 }),
        tag(Area::Coil, 0, RegisterType::U16),
    ];
    let plan = plan(points(&tags), &LIMITS);
    assert_eq!((plan.refused, plan.blocks.len()), (vec![0, 2], 1));
}

#[test]
fn a_block_splits_at_its_widest_hole_then_in_the_middle() {
    let at = |address| tag(Area::HoldingRegister, address, RegisterType::U16);
    let plan = plan(points(&[at(0), at(1), at(5), at(6), at(20)]), &LIMITS);
    let (head, tail) = split(&plan.blocks[0], &plan.points).expect("five points");
    assert_eq!((head.address, head.quantity, tail.address, tail.quantity), (0, 7, 20, 1));
    let (head, tail) = split(&head, &plan.points).expect("four points");
    assert_eq!((head.address, head.quantity, tail.address, tail.quantity), (0, 2, 5, 2));
    let (head, tail) = split(&head, &plan.points).expect("two points");
    assert_eq!((head.quantity, tail.address), (1, 1));
    assert_eq!(split(&tail, &plan.points), None);
}

fn kind() -> impl Strategy<Value = RegisterType> {
    prop_oneof![
        Just(RegisterType::U16),
        Just(RegisterType::F32),
        Just(RegisterType::F64),
        Just(RegisterType::Bool),
        (1u16..140).prop_map(|registers| RegisterType::Text { registers }),
    ]
}

fn any_tag() -> impl Strategy<Value = ModbusTag> {
    let area = prop_oneof![
        Just(Area::Coil),
        Just(Area::DiscreteInput),
        Just(Area::HoldingRegister),
        Just(Area::InputRegister)
    ];
    let address = prop_oneof![0u16..400, 65_400u16..=65_535];
    (area, address, kind()).prop_map(|(area, address, kind)| {
        tag(area, address, if area.is_registers() { kind } else { RegisterType::Bool })
    })
}

fn holds(block: &Block, plan: &Plan, limits: &Limits) {
    let run = block.points(&plan.points);
    assert_eq!(run.len(), block.count as usize);
    assert!(block.quantity >= 1 && block.quantity <= limits.most(block.function.area()));
    let mut end = u32::from(block.address);
    for point in run {
        assert_eq!(point.area, block.function.area());
        assert!(point.address >= block.address && u32::from(point.address) <= end + u32::from(limits.gap));
        end = end.max(point.end());
    }
    assert_eq!(end, u32::from(block.address) + u32::from(block.quantity));
}

proptest! {
    #[test]
    fn every_tag_is_covered_once_within_limits_and_gap(
        tags in proptest::collection::vec(any_tag(), 0..80),
        gap in 0u16..40, registers in 1u16..200, bits in 1u16..3000,
    ) {
        let limits = Limits { gap, registers, bits };
        let plan = plan(points(&tags), &limits);
        let mut covered: Vec<u32> =
            plan.blocks.iter().flat_map(|b| b.points(&plan.points).iter().map(|p| p.tag)).collect();
        for tag in &plan.refused {
            let tag = &tags[*tag as usize];
            let end = u32::from(tag.at.address) + u32::from(tag.kind.registers());
            prop_assert!(tag.kind.registers() > limits.most(tag.at.area) || end > 65_536);
        }
        covered.extend(&plan.refused);
        covered.sort_unstable();
        prop_assert_eq!(covered, (0..tags.len() as u32).collect::<Vec<_>>());
        for block in &plan.blocks {
            holds(block, &plan, &limits);
        }
    }

    #[test]
    fn splitting_ends_at_single_tags_and_loses_none(tags in proptest::collection::vec(any_tag(), 1..40), gap in 0u16..40) {
        let limits = Limits { gap, ..LIMITS };
        let plan = plan(points(&tags), &limits);
        let mut open = plan.blocks.clone();
        let mut single = 0;
        while let Some(block) = open.pop() {
            match split(&block, &plan.points) {
                Some((head, tail)) => {
                    prop_assert_eq!(head.count + tail.count, block.count);
                    prop_assert_eq!(head.first + head.count, tail.first);
                    for part in [&head, &tail] {
                        let end = u32::from(part.address) + u32::from(part.quantity);
                        prop_assert!(part.address >= block.address);
                        prop_assert!(end <= u32::from(block.address) + u32::from(block.quantity));
                        prop_assert!(part.points(&plan.points).iter().all(|p| p.address >= part.address && p.end() <= end));
                    }
                    open.extend([head, tail]);
                }
                None => single += 1,
            }
        }
        prop_assert_eq!(single, plan.points.len());
    }
}
