//! Which timeouts have fallen due, and how long may the loop sleep until the next one does?
//!
//! The answer must be cheap where it matters. Most timeouts never fire: a deadline is set around
//! a read, the read succeeds, the deadline is cancelled. So `insert` and `remove` are the hot
//! path and touch a fixed handful of words, while sorting is put off to the few entries that live
//! long enough to need it. A heap would sort every entry at both ends, for nothing.
//!
//! ```text
//!              one slot spans          64 slots a level, a bitmap says which are occupied
//!   level 0    1 tick             . . . . n E . . E . . . . . . .    n: the slot of now
//!   level 1    64 ticks           . . n . . E . . . . . . . . . .    E: a ring of entries,
//!   level 2    4,096 ticks        . n . . . . . . . E . . . . . .       oldest first
//!     ...                           |
//!   level 10   2^60 ticks         n .      16 slots are enough for the last 4 bits
//!   due        deadline <= now    one ring, from which `pop_due` takes
//! ```
//!
//! Read deadline and now as numbers of eleven digits, six bits each. The highest digit in which
//! they differ is the entry's level, and the deadline's digit there is its slot. The rule kept
//! between any two calls: **every entry lies where its deadline and the present `now` say**.
//! Three things follow. A slot is found again without being stored in the entry. No occupied slot
//! lies behind now, so the lowest bit of the lowest occupied level is the earliest slot of all.
//! And entries of one deadline always share a ring, so they fire in the order of their insertion.
//!
//! When `advance` reaches the first tick of a slot, it empties it: a ring of level 0 is due as a
//! whole, a ring from above is dealt out to lower levels (the cascade). An entry moves down at
//! most ten times in its life, and only if nobody cancels it before time reaches its slot. Empty
//! slots cost nothing, however far the jump. The price: a cascade deals out its whole ring in one
//! `advance`.
//!
//! Levels cover all of u64, so there is no overflow list; `u64::MAX` is a deadline like any other
//! and in practice means never. Memory is kept at its peak, so a steady state never allocates.
//!
//! What it does not do: read a clock, know how long a tick is, or call foreign code. No value is
//! dropped or touched in here, so whatever a wake-up does, it cannot find the wheel half changed.
//!
//! Comes from: timer.rs (a `Sleep` inserts). Goes to: executor.rs (the turn advances and pops).

use std::mem;
use std::num::NonZeroU64;

use slab::Slab;

/// A digit has six bits, because a word of 64 bits can then say which slots of a level are in use.
const DIGIT: u32 = 6;
const SLOTS: usize = 1 << DIGIT;
const LEVELS: usize = u64::BITS.div_ceil(DIGIT) as usize;
/// The row below the levels; of its slots only the first is used, for the ring of due entries.
const DUE: usize = LEVELS;

/// A set of values, each with a deadline in ticks. See the head of this file.
///
/// | call                          | cost                                                     |
/// |-------------------------------|----------------------------------------------------------|
/// | `insert`, `remove`, `get_mut` | constant                                                 |
/// | `pop_due`, `next`             | constant                                                 |
/// | `advance`                     | constant for each slot emptied and each entry moved down |
/// | `drain`                       | linear in the largest number of entries ever held        |
pub(crate) struct Wheel<T> {
    now: u64,
    /// What the next key will carry. One count for the whole wheel, and 64 bits wide: it never
    /// comes round, so a key names one entry for ever.
    generation: NonZeroU64,
    /// Bit s of word l: the ring at level l, slot s has entries.
    occupied: [u64; LEVELS + 1],
    /// The oldest entry of each ring; meaningless unless the bit above is set.
    heads: [[u32; SLOTS]; LEVELS + 1],
    nodes: Slab<Node<T>>,
}

/// An entry, linked into the ring of its slot: the youngest is followed by the oldest, and an
/// entry alone by itself. Links are indices of 32 bits, half of what pointers would take.
struct Node<T> {
    deadline: u64,
    generation: NonZeroU64,
    prev: u32,
    next: u32,
    value: T,
}

/// Names one entry of one wheel, and after its end nothing at all, even if its place is used
/// again. `Option<Key>` is no larger than `Key`: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    generation: NonZeroU64,
    index: u32,
}

impl<T> Wheel<T> {
    /// An empty wheel with `now` at 0. Allocates nothing before the first `insert`.
    pub(crate) const fn new() -> Self {
        Self {
            now: 0,
            generation: NonZeroU64::MIN,
            occupied: [0; LEVELS + 1],
            heads: [[0; SLOTS]; LEVELS + 1],
            nodes: Slab::new(),
        }
    }

    /// Files `value` to fall due at the tick `deadline`.
    ///
    /// # Errors
    /// Gives the value back if `deadline` is not after [`now`](Self::now): it is due already.
    ///
    /// # Panics
    /// If the wheel holds 2^32 entries, which is a hundred gigabytes of them.
    pub(crate) fn insert(&mut self, deadline: u64, value: T) -> Result<Key, T> {
        if deadline <= self.now {
            return Err(value);
        }
        let generation = self.generation;
        self.generation = generation.checked_add(1).expect("2^64 inserts take centuries");
        let entry = self.nodes.vacant_entry();
        let index = u32::try_from(entry.key()).expect("a wheel holds at most 2^32 entries");
        entry.insert(Node { deadline, generation, prev: index, next: index, value });
        self.append(index, place(deadline, self.now));
        Ok(Key { generation, index })
    }

    /// Takes an entry out, due or not. `None` if it was popped or removed before.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        Some(self.unlink(key.index))
    }

    /// The value of an entry, due or not. `None` if it was popped or removed before.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let node = self.nodes.get_mut(key.index as usize)?;
        (node.generation == key.generation).then_some(&mut node.value)
    }

    /// Moves time on to `now` and makes every entry due whose deadline is not after it. Earlier
    /// deadlines come first, and of equal ones the entry inserted first. A `now` in the past is
    /// ignored: time never goes back.
    pub(crate) fn advance(&mut self, now: u64) {
        while let Some((level, slot, start)) = self.earliest()
            && start <= now
        {
            // Stopping at each slot, instead of one step to `now`, is what keeps the order.
            self.now = start;
            self.occupied[level] &= !(1 << slot);
            let head = self.heads[level][slot];
            if level == 0 {
                self.append(head, (DUE, 0));
            } else {
                self.cascade(head);
            }
        }
        self.now = self.now.max(now);
    }

    /// Takes the next due value. Anything may be called between two pops.
    pub(crate) fn pop_due(&mut self) -> Option<T> {
        (self.occupied[DUE] != 0).then(|| self.unlink(self.heads[DUE][0]))
    }

    /// A tick that is safe to sleep until: no entry falls due before it, and advancing to it makes
    /// an entry due or moves one down. It is `now` while due entries wait to be popped. `None` if
    /// the wheel is empty.
    ///
    /// It may come before the earliest deadline, since only the cascade tells the entries of one
    /// slot apart. A slot with a single entry is exact: a lone sleep of a year is one wake-up.
    pub(crate) fn next(&self) -> Option<u64> {
        if self.occupied[DUE] != 0 {
            return Some(self.now);
        }
        let (level, slot, start) = self.earliest()?;
        let head = self.heads[level][slot];
        let node = &self.nodes[head as usize];
        Some(if node.next == head { node.deadline } else { start })
    }

    /// Takes all values out, in no particular order, and releases the memory. The wheel is empty
    /// at once, whatever becomes of the iterator; `now` stays, and old keys remain stale.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.occupied = [0; LEVELS + 1];
        mem::take(&mut self.nodes).into_iter().map(|(_, node)| node.value)
    }

    /// The occupied slot that begins first: its level, its number, its first tick. Every slot of a
    /// lower level begins before any of a higher one, and all of them begin after `now`.
    fn earliest(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied[..LEVELS].iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let shift = level as u32 * DIGIT;
        let prefix = (self.now >> shift) & !(SLOTS as u64 - 1);
        let start = (prefix | u64::from(slot)) << shift;
        Some((level, slot as usize, start))
    }

    /// Deals the ring that begins with `head` out to where its entries belong now.
    fn cascade(&mut self, head: u32) {
        let mut index = head;
        loop {
            let node = &mut self.nodes[index as usize];
            let next = mem::replace(&mut node.next, index);
            node.prev = index;
            let to = place(node.deadline, self.now);
            self.append(index, to);
            if next == head {
                break;
            }
            index = next;
        }
    }

    /// Joins the ring that begins with `first` to the end of the one in a slot. A single entry is
    /// a ring too.
    fn append(&mut self, first: u32, (level, slot): (usize, usize)) {
        if self.occupied[level] & (1 << slot) == 0 {
            self.occupied[level] |= 1 << slot;
            self.heads[level][slot] = first;
            return;
        }
        let head = self.heads[level][slot];
        let last = self.nodes[first as usize].prev;
        let tail = mem::replace(&mut self.nodes[head as usize].prev, last);
        self.nodes[first as usize].prev = tail;
        self.nodes[tail as usize].next = first;
        self.nodes[last as usize].next = head;
    }

    /// Takes an existing entry out of the slab and out of its ring.
    fn unlink(&mut self, index: u32) -> T {
        let Node { deadline, prev, next, value, .. } = self.nodes.remove(index as usize);
        let (level, slot) = place(deadline, self.now);
        if next == index {
            self.occupied[level] &= !(1 << slot);
            return value;
        }
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
        if self.heads[level][slot] == index {
            self.heads[level][slot] = next;
        }
        value
    }
}

/// The level and the slot in which an entry lies at the tick `now`.
fn place(deadline: u64, now: u64) -> (usize, usize) {
    if deadline <= now {
        return (DUE, 0);
    }
    let level = (deadline ^ now).ilog2() / DIGIT;
    (level as usize, (deadline >> (level * DIGIT)) as usize % SLOTS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    impl<T> Wheel<T> {
        /// The tick that the last `advance` reached.
        pub(crate) fn now(&self) -> u64 {
            self.now
        }

        /// How many entries there are, those that are due and not yet popped included.
        pub(crate) fn len(&self) -> usize {
            self.nodes.len()
        }

        /// Whether there is no entry at all, not even a due one.
        pub(crate) fn is_empty(&self) -> bool {
            self.nodes.is_empty()
        }
    }

    use proptest::prelude::*;

    use super::*;

    const YEAR: u64 = 481_000_000_000; // of ticks of 2^16 ns
    const BORDERS: [u64; 11] =
        [1, 63, 64, 65, 4_095, 4_096, 4_097, 262_143, 262_144, 1 << 60, u64::MAX];

    fn popped<T>(wheel: &mut Wheel<T>) -> Vec<T> {
        std::iter::from_fn(|| wheel.pop_due()).collect()
    }

    fn filed<T: std::fmt::Debug>(wheel: &mut Wheel<T>, deadline: u64, value: T) -> Key {
        wheel.insert(deadline, value).expect("the deadline is ahead")
    }

    /// Walks every ring: the rule of the head holds, links agree, and no entry is outside.
    fn check<T>(wheel: &Wheel<T>) {
        let mut seen = 0;
        for (level, heads) in wheel.heads.iter().enumerate() {
            for (slot, &head) in heads.iter().enumerate() {
                if wheel.occupied[level] & (1 << slot) == 0 {
                    continue;
                }
                let mut index = head;
                loop {
                    let node = &wheel.nodes[index as usize];
                    assert_eq!(place(node.deadline, wheel.now), (level, slot));
                    assert_eq!(wheel.nodes[node.next as usize].prev, index);
                    seen += 1;
                    assert!(seen <= wheel.len(), "a ring that never closes");
                    index = node.next;
                    if index == head {
                        break;
                    }
                }
            }
        }
        assert_eq!(seen, wheel.len());
    }

    /// The sum of all levels; due entries count as below level 0.
    fn height<T>(wheel: &Wheel<T>) -> usize {
        let height = |(_, node): (usize, &Node<T>)| match place(node.deadline, wheel.now) {
            (DUE, _) => 0,
            (level, _) => level + 1,
        };
        wheel.nodes.iter().map(height).sum()
    }

    #[test]
    fn a_new_wheel_is_empty_and_allocates_nothing() {
        let wheel = Wheel::<u32>::new();
        assert_eq!((wheel.now(), wheel.len(), wheel.is_empty()), (0, 0, true));
        assert_eq!((wheel.next(), wheel.nodes.capacity()), (None, 0));
    }

    #[test]
    fn an_entry_is_due_at_its_tick_and_not_one_before() {
        for start in [0, 1, 63, 64, 4_095, 4_096, YEAR, u64::MAX / 2] {
            for distance in BORDERS {
                let Some(deadline) = start.checked_add(distance) else {
                    continue;
                };
                let mut wheel = Wheel::new();
                wheel.advance(start);
                filed(&mut wheel, deadline, "x");
                assert_eq!(wheel.next(), Some(deadline), "a lone entry is told exactly");
                wheel.advance(deadline - 1);
                assert_eq!(wheel.pop_due(), None, "early: {distance} after {start}");
                wheel.advance(deadline);
                assert_eq!(wheel.pop_due(), Some("x"), "late: {distance} after {start}");
                assert!(wheel.is_empty());
            }
        }
    }

    #[test]
    fn borders_of_levels_fire_in_order_in_one_jump() {
        let mut wheel = Wheel::new();
        for &deadline in BORDERS.iter().rev() {
            filed(&mut wheel, deadline, deadline);
        }
        check(&wheel);
        wheel.advance(u64::MAX);
        assert_eq!(popped(&mut wheel), BORDERS);
    }

    #[test]
    fn equal_deadlines_fire_in_the_order_of_insertion_from_whatever_level() {
        let mut wheel = Wheel::new();
        for (count, now) in [0, 1, 4_000, 5_000, 299_000, 299_990].into_iter().enumerate() {
            wheel.advance(now);
            filed(&mut wheel, 300_000, count);
        }
        wheel.advance(300_000);
        assert_eq!(popped(&mut wheel), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_due_already_is_given_back() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.insert(0, 'a'), Err('a'));
        wheel.advance(100);
        assert_eq!(wheel.insert(99, 'b'), Err('b'));
        assert_eq!(wheel.insert(100, 'c'), Err('c'));
        assert!(wheel.insert(101, 'd').is_ok());
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn time_never_goes_back() {
        let mut wheel = Wheel::new();
        wheel.advance(100);
        filed(&mut wheel, 110, ());
        wheel.advance(50);
        assert_eq!((wheel.now(), wheel.next()), (100, Some(110)));
        check(&wheel);
    }

    #[test]
    fn the_end_of_time_is_a_deadline_like_any_other() {
        let mut wheel = Wheel::new();
        let never = filed(&mut wheel, u64::MAX, 'n');
        wheel.advance(u64::MAX - 1);
        assert_eq!((wheel.pop_due(), wheel.next()), (None, Some(u64::MAX)));
        wheel.advance(u64::MAX);
        assert_eq!(wheel.remove(never), Some('n'));
        assert_eq!(wheel.insert(u64::MAX, 'm'), Err('m'));
    }

    #[test]
    fn a_stale_key_never_names_the_entry_that_took_its_place() {
        let mut wheel = Wheel::new();
        let removed = filed(&mut wheel, 10, 1);
        assert_eq!(wheel.remove(removed), Some(1));
        let fired = filed(&mut wheel, 10, 2);
        assert_eq!(fired.index, removed.index, "the place is used again");
        wheel.advance(10);
        assert_eq!(wheel.pop_due(), Some(2));
        let drained = filed(&mut wheel, 20, 3);
        assert_eq!(wheel.drain().collect::<Vec<_>>(), [3]);
        let living = filed(&mut wheel, 30, 4);
        assert_eq!(living.index, removed.index);
        for stale in [removed, fired, drained] {
            assert_eq!(wheel.get_mut(stale), None);
            assert_eq!(wheel.remove(stale), None);
        }
        assert_eq!(wheel.get_mut(living), Some(&mut 4));
    }

    #[test]
    fn due_entries_can_be_changed_and_removed_until_they_are_popped() {
        let mut wheel = Wheel::new();
        let keys: Vec<_> = (0..5).map(|n| filed(&mut wheel, 10 + n, n)).collect();
        wheel.advance(14);
        assert_eq!(wheel.remove(keys[0]), Some(0)); // the first of the ring
        assert_eq!(wheel.remove(keys[2]), Some(2)); // from its middle
        assert_eq!(wheel.pop_due(), Some(1));
        assert_eq!(wheel.remove(keys[1]), None);
        *wheel.get_mut(keys[3]).expect("due, not popped") = 33;
        filed(&mut wheel, 15, 5);
        assert_eq!(wheel.next(), Some(14), "due entries wait, so the time is now");
        wheel.advance(15);
        check(&wheel);
        assert_eq!(wheel.remove(keys[4]), Some(4)); // again from the middle
        assert_eq!(popped(&mut wheel), [33, 5]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn drain_gives_every_value_and_leaves_a_wheel_that_works() {
        let mut wheel = Wheel::new();
        for &deadline in &BORDERS {
            filed(&mut wheel, deadline, deadline);
        }
        wheel.advance(64); // three are due
        let values = wheel.drain();
        assert_eq!((wheel.len(), wheel.next(), wheel.now()), (0, None, 64));
        filed(&mut wheel, 65, 0);
        let mut values: Vec<_> = values.collect();
        values.sort_unstable();
        assert_eq!(values, BORDERS);
        wheel.advance(65);
        assert_eq!(popped(&mut wheel), [0]);
    }

    #[test]
    fn an_entry_moves_at_most_once_a_level() {
        // Two share each slot down to level 0, so that no step can be skipped: the longest way.
        let mut wheel = Wheel::new();
        filed(&mut wheel, u64::MAX, 'b');
        filed(&mut wheel, u64::MAX - 1, 'a');
        let mut steps = 0;
        while let Some(tick) = wheel.next() {
            wheel.advance(tick);
            steps += 1;
            check(&wheel);
            if wheel.pop_due().is_some() {
                assert!(steps <= LEVELS + 1, "{steps} steps");
            }
        }
        assert_eq!(wheel.now(), u64::MAX);
    }

    #[test]
    fn a_steady_state_allocates_nothing() {
        let mut wheel = Wheel::new();
        let mut keys: Vec<_> = (1..=100).map(|n| filed(&mut wheel, n * 1_000, n)).collect();
        let capacity = wheel.nodes.capacity();
        for turn in 1..100_000 {
            let key = keys.swap_remove(turn % 100);
            wheel.remove(key).expect("it lives until it is replaced");
            wheel.advance(turn as u64);
            keys.push(filed(&mut wheel, turn as u64 + 200_000, 0));
        }
        assert_eq!((wheel.len(), wheel.nodes.capacity()), (100, capacity));
    }

    #[test]
    fn an_entry_of_a_waker_takes_forty_bytes_and_a_key_sixteen() {
        assert!(size_of::<Node<std::task::Waker>>() <= 40);
        assert_eq!(size_of::<Option<Key>>(), 16);
    }

    /// What a run does next. Distances have all magnitudes: a number of bits, then the bits.
    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        InsertAtBorder(u32),
        Remove(usize),
        RemoveDue(usize),
        Advance(u64),
        AdvanceToNext,
        Pop(usize),
    }

    fn distance() -> impl Strategy<Value = u64> {
        (0..u64::BITS, any::<u64>()).prop_map(|(shift, bits)| bits >> shift)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => distance().prop_map(Step::Insert),
            3 => (0..200_u64).prop_map(Step::Insert),
            2 => (0..u64::BITS).prop_map(Step::InsertAtBorder),
            3 => any::<usize>().prop_map(Step::Remove),
            1 => any::<usize>().prop_map(Step::RemoveDue),
            2 => (20..u64::BITS, any::<u64>()).prop_map(|(s, bits)| Step::Advance(bits >> s)),
            2 => (0..100_u64).prop_map(Step::Advance),
            4 => Just(Step::AdvanceToNext),
            3 => (0..6_usize).prop_map(Step::Pop),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Against a sorted map from (deadline, count of inserts) to key: exactly what is due
        /// fires, in that order, never early, nothing is lost, and `next` keeps its word.
        #[test]
        fn the_wheel_fires_what_a_sorted_map_says(
            start in prop_oneof![Just(0), distance(), distance().prop_map(|d| u64::MAX - d)],
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut wheel = Wheel::new();
            let mut model = BTreeMap::new();
            let mut stale = Vec::new();
            let mut count = 0;
            let mut now = start;
            wheel.advance(start);
            for step in steps {
                let deadline = match step {
                    Step::Insert(distance) => Some(now.saturating_add(distance)),
                    Step::InsertAtBorder(bit) => Some((now | ((1 << bit) - 1)).saturating_add(1)),
                    _ => None,
                };
                if let Some(deadline) = deadline {
                    count += 1;
                    match wheel.insert(deadline, (deadline, count)) {
                        Ok(key) => prop_assert!(model.insert((deadline, count), key).is_none()),
                        Err(_) => prop_assert!(deadline <= now),
                    }
                }
                let due = model.range(..=(now, u64::MAX)).count();
                let victim = match step {
                    Step::Remove(n) if !model.is_empty() => Some(n % model.len()),
                    Step::RemoveDue(n) if due > 0 => Some(n % due),
                    _ => None,
                };
                if let Some(nth) = victim {
                    let (&id, &key) = model.iter().nth(nth).expect("nth is below the length");
                    prop_assert_eq!(wheel.get_mut(key), Some(&mut id.clone()));
                    prop_assert_eq!(wheel.remove(key), Some(id));
                    model.remove(&id);
                    stale.push(key);
                }
                match step {
                    Step::Advance(distance) => {
                        now = now.saturating_add(distance);
                        wheel.advance(now);
                    }
                    Step::AdvanceToNext if due == 0 && !model.is_empty() => {
                        now = wheel.next().expect("the model holds an entry");
                        let before = height(&wheel);
                        wheel.advance(now);
                        prop_assert!(height(&wheel) < before, "no progress at {}", now);
                    }
                    Step::Pop(times) => {
                        for _ in 0..times {
                            let first = model.first_entry().filter(|e| e.key().0 <= now);
                            let first = first.map(|entry| entry.remove_entry());
                            prop_assert_eq!(wheel.pop_due(), first.map(|(id, _)| id));
                            stale.extend(first.map(|(_, key)| key));
                        }
                    }
                    _ => {}
                }
                check(&wheel);
                prop_assert_eq!((wheel.now(), wheel.len()), (now, model.len()));
                prop_assert_eq!(wheel.is_empty(), model.is_empty());
                match (wheel.next(), model.first_key_value()) {
                    (Some(next), Some((&(first, _), _))) if first <= now => {
                        prop_assert_eq!(next, now);
                    }
                    (Some(next), Some((&(first, _), _))) => {
                        prop_assert!(now < next && next <= first, "{} {} {}", now, next, first);
                    }
                    (next, first) => prop_assert!(next.is_none() && first.is_none()),
                }
                for &key in stale.iter().rev().take(20) {
                    prop_assert_eq!(wheel.get_mut(key), None);
                }
            }
            now = u64::MAX;
            wheel.advance(now);
            let expected: Vec<_> = model.into_keys().collect();
            prop_assert_eq!(popped(&mut wheel), expected);
            prop_assert!(wheel.is_empty());
        }
    }
}
