//! Inputs made from valid ones by small damage, reproducible from a seed.

pub struct Mutator {
    seeds: Vec<Vec<u8>>,
    state: u64,
}

/// Longest input made, in bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;

impl Mutator {
    pub fn new(mut seeds: Vec<Vec<u8>>, seed: u64) -> Mutator {
        seeds.push(Vec::new());
        Mutator { seeds, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % bound.max(1) as u64) as usize
    }

    /// A seed with one to eight changes.
    pub fn next_input(&mut self) -> Vec<u8> {
        let chosen = self.below(self.seeds.len());
        let mut input = self.seeds[chosen].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(8) {
            0 => input.truncate(at),
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << (self.state % 8);
                }
            }
            2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.state as u8;
                }
            }
            // A varint of the largest number: a length beyond everything.
            3 => {
                input.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
            }
            4 => {
                let value = self.state as u8;
                input.insert(at, value);
            }
            5 => {
                if at < input.len() {
                    input.remove(at);
                }
            }
            6 => {
                let end = (at + self.below(32)).min(input.len());
                let repeated = input[at..end].to_vec();
                input.splice(at..at, repeated);
            }
            _ => {
                let other = self.below(self.seeds.len());
                let other = self.seeds[other].clone();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}
