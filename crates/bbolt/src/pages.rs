//! A set of page ids, no larger than the file has pages.

#[derive(Debug, Clone)]
pub struct Pages {
    words: Vec<u64>,
    limit: u64,
}

impl Pages {
    /// For ids below `limit`, which is bound by the length of a file.
    pub fn below(limit: u64) -> Pages {
        // It grows with what is put in, so a file that claims to be large costs nothing.
        Pages { words: Vec::new(), limit }
    }

    /// Whether it was not in there; none if it is out of bounds.
    pub fn insert(&mut self, page: u64) -> Option<bool> {
        let word = usize::try_from(page / 64).ok().filter(|_| page < self.limit)?;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (page % 64);
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        Some(is_new)
    }

    pub fn contains(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|word| self.words.get(word));
        word.is_some_and(|word| word & (1 << (page % 64)) != 0)
    }

    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}
