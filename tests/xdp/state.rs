//! A state that is being written: the numbers at its ends differ, and nothing between them is believed.

use aya::maps::{Array, Map, MapData};
use aya::programs::Xdp;
use ntpring::sys::xdp;

use crate::program::{Tested, serving};
use crate::rules::{CLIENTS, request_from};

/// A generation of the state as words, as responder.h has it: the first and the last are its number.
type Words = [u64; 29];
const LAST: usize = 28;
/// Of how many generations there is room.
const GENERATIONS: u32 = 2;

/// The array of this name that the program reads, opened beside the daemon's own.
fn array<V: aya::Pod>(program: &Xdp, name: &str) -> Array<MapData, V> {
    let mut maps = program.info().unwrap().map_ids().unwrap().unwrap_or_default().into_iter();
    let map = maps.find_map(|id| {
        let map = MapData::from_id(id).unwrap();
        (map.info().unwrap().name_as_str() == Some(name)).then_some(map)
    });
    Map::Array(map.unwrap_or_else(|| panic!("no map {name}"))).try_into().unwrap()
}

#[test]
fn a_state_that_is_being_written_is_left_to_the_sockets() {
    let Some(mut tested) = Tested::new() else { return };
    tested.publish(&serving(&[]));
    let counters = tested.program.counters();
    let object = tested.program.into_object();
    let program: &Xdp = object.program("respond").unwrap().try_into().unwrap();
    let generation: Array<_, u32> = array(program, "generation");
    let mut states: Array<_, Words> = array(program, "states");
    let in_force = generation.get(&0, 0).unwrap();
    let whole = states.get(&in_force, 0).unwrap();
    assert!(whole[0] != 0 && whole[0] == whole[LAST], "{whole:x?}");

    let is_answered = || {
        CLIENTS.map(|client| {
            let frame = request_from(client).bytes();
            let mut out = [0; 256];
            let (action, length) = xdp::test(program, &frame, &mut out).unwrap();
            match action {
                2 => assert_eq!(out[..length], frame, "what is passed is not changed"),
                3 => assert_ne!(out[..length], frame),
                other => panic!("action {other}"),
            }
            action == 3
        })
    };
    assert_eq!(is_answered(), [true; 2]);
    let [before, after] = [0, LAST].map(|at| {
        let mut torn = whole;
        torn[at] += 1;
        torn
    });
    let mut unwritten = whole;
    (unwritten[0], unwritten[LAST]) = (0, 0);
    let mut passed = 0;
    for torn in [before, after, unwritten] {
        states.set(in_force, torn, 0).unwrap();
        assert_eq!(is_answered(), [false; 2], "{torn:x?}");
        passed += 2;
        let totals = counters.read().unwrap();
        assert_eq!(totals.passed().find(|(reason, _)| *reason == "state"), Some(("state", passed)));
        states.set(in_force, whole, 0).unwrap();
        assert_eq!(is_answered(), [true; 2]);
    }

    // The other generation is nobody's business.
    states.set((in_force + 1) % GENERATIONS, before, 0).unwrap();
    assert_eq!(is_answered(), [true; 2]);
}
