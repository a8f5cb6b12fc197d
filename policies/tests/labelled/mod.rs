//! Generated text with known truth: what is in it is known because it was put there.
//!
//! Check digits are computed here by other means than in the product (trial of all digits against the defining equation, or
//! the issuer's formula), sentences are written for the purpose. The seed is fixed: the same cases every time.

pub mod nationals;
pub mod negatives;
pub mod numbers;
pub mod sentences;

/// A case.
pub struct Case {
    /// The text that is scanned.
    pub text: String,
    /// The kind that is in it; `None`: nothing is.
    pub kind: Option<&'static str>,
    /// The group that it is reported under.
    pub group: &'static str,
}

/// SplitMix64 (Steele, Lea, Flood 2014): numbers that are the same everywhere.
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn digits(&mut self, count: usize) -> String {
        self.letters(count, "0123456789")
    }

    pub fn letters(&mut self, count: usize, from: &str) -> String {
        let letters: Vec<char> = from.chars().collect();
        (0..count).map(|_| self.of(&letters)).collect()
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let draw = &mut Draw(20_260_101);
    let mut cases = Vec::new();
    for spec in numbers::ALL {
        for _ in 0..spec.cases {
            let value = (spec.make)(draw);
            let text = sentences::around(spec.label, spec.languages, &value, draw);
            cases.push(Case { text, kind: Some(spec.kind), group: spec.group });
            if spec.bare {
                let text = sentences::neutral(&value, draw);
                cases.push(Case { text, kind: Some(spec.kind), group: numbers::BARE });
            }
        }
    }
    cases.extend(negatives::cases(draw));
    cases
}
