//! Addresses of objects, numbered: which of them a walk has met, and as which one.
//!
//! Open addressing in two arrays that grow as they fill. The sampling thread looks into the same table while a cell runs;
//! between cells it is changed.

/// In place of the number of one that was removed; the caller's are smaller, or `u32::MAX`.
const GONE: u32 = u32::MAX - 1;
const SLOTS_MIN: usize = 8;

/// A map from addresses other than 0 to numbers.
#[derive(Debug, Clone, Default)]
pub struct AddressTable {
    keys: Vec<u64>,
    numbers: Vec<u32>,
    /// Slots with a key, those of removed ones too.
    taken: usize,
    low: u64,
    high: u64,
}

impl AddressTable {
    /// An empty table that takes `count` addresses without growing.
    pub fn with_room(count: usize) -> AddressTable {
        let slots = (count * 2).next_power_of_two().max(SLOTS_MIN);
        AddressTable {
            keys: vec![0; slots],
            numbers: vec![0; slots],
            ..AddressTable::default()
        }
    }

    fn home(&self, address: u64) -> usize {
        let mixed = (address >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (64 - self.keys.len().trailing_zeros())) as usize
    }

    /// The slot that holds `address`, or the empty one where it would go; the table has an empty one.
    fn slot(&self, address: u64) -> usize {
        let mask = self.keys.len() - 1;
        let mut at = self.home(address);
        while self.keys[at] != 0 && self.keys[at] != address {
            at = (at + 1) & mask;
        }
        at
    }

    /// The number of `address`, `None` for one that was never inserted or has been removed.
    pub fn get(&self, address: u64) -> Option<u32> {
        if address.wrapping_sub(self.low) > self.high.wrapping_sub(self.low) || self.keys.is_empty() {
            return None;
        }
        let at = self.slot(address);
        (self.keys[at] == address && self.numbers[at] != GONE).then_some(self.numbers[at])
    }

    /// Gives `address` its number, a new one if it had one. Address 0 is never kept.
    pub fn insert(&mut self, address: u64, number: u32) {
        if address == 0 {
            return;
        }
        if self.taken * 4 >= self.keys.len() * 3 {
            self.grow();
        }
        (self.low, self.high) = match self.taken {
            0 => (address, address),
            _ => (self.low.min(address), self.high.max(address)),
        };
        let at = self.slot(address);
        self.taken += usize::from(self.keys[at] == 0);
        self.keys[at] = address;
        self.numbers[at] = number;
    }

    pub fn remove(&mut self, address: u64) {
        if self.get(address).is_some() {
            let at = self.slot(address);
            self.numbers[at] = GONE;
        }
    }

    fn grow(&mut self) {
        let live = self
            .keys
            .iter()
            .zip(&self.numbers)
            .filter(|(key, number)| **key != 0 && **number != GONE);
        let slots = (live.count() * 2).next_power_of_two().max(SLOTS_MIN);
        let keys = std::mem::replace(&mut self.keys, vec![0; slots]);
        let numbers = std::mem::replace(&mut self.numbers, vec![0; slots]);
        self.taken = 0;
        for (key, number) in keys.into_iter().zip(numbers) {
            if key != 0 && number != GONE {
                let at = self.slot(key);
                self.keys[at] = key;
                self.numbers[at] = number;
                self.taken += 1;
            }
        }
    }

    /// Bytes the table takes.
    pub fn memory_bytes(&self) -> usize {
        self.keys.capacity() * 8 + self.numbers.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inserted_is_found_until_it_is_removed() {
        let mut table = AddressTable::default();
        assert_eq!(table.get(16), None);
        for at in 1..5000u64 {
            table.insert(at * 48, at as u32);
        }
        for at in (1..5000u64).step_by(3) {
            table.remove(at * 48);
        }
        table.insert(48, 7);
        for at in 1..5000u64 {
            let left = (at % 3 != 1).then_some(at as u32);
            assert_eq!(table.get(at * 48), if at == 1 { Some(7) } else { left });
            assert_eq!(table.get(at * 48 + 16), None);
        }
    }

    #[test]
    fn removing_and_inserting_for_ever_takes_no_more_room() {
        let mut table = AddressTable::default();
        for at in 1..100_000u64 {
            table.insert(at * 16, 1);
            table.remove(at * 16);
        }
        assert!(table.memory_bytes() < 1000, "removed slots are used again");
    }
}
