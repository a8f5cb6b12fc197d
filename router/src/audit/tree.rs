//! The Merkle tree of a log: one number that stands for all its records, and short proofs that a record is among them.
//!
//! Source: RFC 6962, section 2.1 (Certificate Transparency): a leaf and a node are hashed with different prefixes.

use aws_lc_rs::digest::{SHA256, digest};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// In one go: a context that is fed piece by piece costs more than putting a few hundred bytes together.
fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn pair(prefix: u8, one: &Hash, other: &Hash) -> Hash {
    let mut bytes = [prefix; 65];
    bytes[1..33].copy_from_slice(one);
    bytes[33..].copy_from_slice(other);
    sha256(&bytes)
}

/// The digest of a record.
pub fn leaf(record: &[u8]) -> Hash {
    let mut bytes = Vec::with_capacity(record.len() + 1);
    bytes.push(0);
    bytes.extend_from_slice(record);
    sha256(&bytes)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    pair(1, left, right)
}

/// The head of the chain once a record is behind it; no RFC, but its own prefix.
pub fn link(head: &Hash, leaf: &Hash) -> Hash {
    pair(2, head, leaf)
}

/// A tree that grows to the right: the roots of its full subtrees, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    roots: Vec<Hash>,
}

/// A tree with all its nodes, for proofs.
#[derive(Debug)]
pub struct Levels(Vec<Vec<Option<Hash>>>);

// === impl Tree ===

impl Tree {
    /// Number of records.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the digest of a record.
    pub fn push(&mut self, leaf: Hash) {
        let mut grown = leaf;
        // As many full subtrees end here as the old size has trailing ones.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                grown = node(&left, &grown);
            }
        }
        self.roots.push(grown);
        self.size += 1;
    }

    /// The root; of no records the digest of nothing.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else { return sha256(&[]) };
        roots.fold(*last, |right, left| node(left, &right))
    }

    /// The roots of the full subtrees, the largest first.
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// The roots one after the other, to go on from later.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// What [`Tree::to_bytes`] gave for a tree of that size; `None` where it does not fit.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (roots, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && roots.len() == size.count_ones() as usize;
        fits.then(|| Self { size, roots: roots.to_vec() })
    }
}

// === impl Levels ===

impl Levels {
    /// Builds the tree over the digests of all records that come after those of `before`, of which only the roots are known.
    pub fn new(before: &Tree, leaves: Vec<Hash>) -> Self {
        // Where the roots stand: each subtree begins where those before it end.
        let (mut begin, mut known) = (0, Vec::new());
        let bits = (0..u64::BITS as usize).rev().filter(|level| before.size >> level & 1 == 1);
        for (root, level) in before.roots.iter().zip(bits) {
            known.push((level, begin >> level, *root));
            begin += 1_usize << level;
        }
        let mut levels: Vec<Vec<Option<Hash>>> =
            vec![std::iter::repeat_n(None, begin).chain(leaves.into_iter().map(Some)).collect()];
        loop {
            let level = levels.len() - 1;
            let Some(last) = levels.last_mut() else { break };
            for (_, place, root) in known.iter().filter(|(of, ..)| *of == level) {
                last[*place] = Some(*root);
            }
            if last.len() <= 1 {
                break;
            }
            let up = last.chunks(2).map(|pair| match pair {
                [left, right] => left.as_ref().zip(right.as_ref()).map(|(left, right)| node(left, right)),
                // A node without a sibling is its own parent.
                [.., alone] => *alone,
                [] => None,
            });
            let up = up.collect();
            levels.push(up);
        }
        Self(levels)
    }

    /// The siblings on the way from a record to the root.
    pub fn proof(&self, at: usize) -> Vec<Hash> {
        let siblings = self.0.iter().enumerate().map(|(level, nodes)| nodes.get((at >> level) ^ 1).copied().flatten());
        siblings.flatten().collect()
    }
}

/// The root that a record's digest and its proof lead to, in a tree of that size; `None` where the proof does not fit.
pub fn root_of(leaf: Hash, at: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    if at >= size {
        return None;
    }
    let (mut hash, mut at, mut size, mut proof) = (leaf, at, size, proof.iter());
    while size > 1 {
        if at ^ 1 < size {
            let sibling = proof.next()?;
            hash = if at & 1 == 1 { node(sibling, &hash) } else { node(&hash, sibling) };
        }
        (at, size) = (at >> 1, size.div_ceil(2));
    }
    proof.next().is_none().then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    #[test]
    fn the_root_is_that_of_the_rfc() {
        // The tree hash of RFC 6962 written down as it is defined there.
        fn defined(leaves: &[Hash]) -> Hash {
            match leaves {
                [] => sha256(&[]),
                [one] => *one,
                _ => {
                    let split = leaves.len().next_power_of_two() / 2;
                    node(&defined(&leaves[..split]), &defined(&leaves[split..]))
                }
            }
        }
        let mut tree = Tree::default();
        for count in 0..70 {
            assert_eq!(tree.root(), defined(&leaves(count)), "{count}");
            assert_eq!(Tree::from_bytes(tree.size(), &tree.to_bytes()), Some(tree.clone()));
            tree.push(leaf(&count.to_be_bytes()));
        }
        assert_eq!(Tree::from_bytes(3, &[0; 32]), None);
    }

    #[test]
    fn a_proof_leads_to_the_root_and_only_for_its_own_record_and_place() {
        for count in 1..40 {
            let leaves = leaves(count);
            let mut tree = Tree::default();
            leaves.iter().for_each(|leaf| tree.push(*leaf));
            let levels = Levels::new(&Tree::default(), leaves.clone());
            for (at, leaf) in leaves.iter().enumerate() {
                let proof = levels.proof(at);
                let (place, size) = (at as u64, count as u64);
                assert_eq!(root_of(*leaf, place, size, &proof), Some(tree.root()), "{at} of {count}");
                assert_ne!(root_of(Hash::default(), place, size, &proof), Some(tree.root()));
                assert_ne!(root_of(*leaf, place + 1, size, &proof), Some(tree.root()));
                assert_eq!(root_of(*leaf, place, size, &[proof, vec![Hash::default()]].concat()), None);
            }
        }
    }

    #[test]
    fn proofs_are_the_same_where_only_the_roots_of_a_beginning_are_known() {
        for count in 1..40 {
            let leaves = leaves(count);
            let whole = Levels::new(&Tree::default(), leaves.clone());
            for cut in 0..count {
                let mut before = Tree::default();
                leaves[..cut].iter().for_each(|leaf| before.push(*leaf));
                let rest = Levels::new(&before, leaves[cut..].to_vec());
                for at in cut..count {
                    assert_eq!(rest.proof(at), whole.proof(at), "{at} of {count}, cut at {cut}");
                }
            }
        }
    }
}
