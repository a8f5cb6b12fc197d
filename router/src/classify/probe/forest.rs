//! Boosted trees over the hand-made features.
//!
//! A forest is the sum of many small regression trees. Every inner node knows the mean of what is below it, so that a
//! judgement can be taken apart: going down a tree, each step from a node to its child moves the expectation, and the
//! move belongs to the feature that was asked there. The moves and the mean of all add up to the sum exactly.
//!
//! The trees are grown by [`crate::learn`]; here they are only walked and stored. Walking 400 trees takes some
//! 15 microseconds.

use super::file::{Blob, HeadError, Take};

/// Marks a leaf.
const LEAF: u16 = u16::MAX;

/// A node: a question about one feature, or a leaf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    feature: u16,
    left: u16,
    right: u16,
    threshold: f32,
    value: f32,
}

/// A sum of trees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forest {
    /// What is expected before anything is asked.
    base: f32,
    /// Where each tree starts in `nodes`.
    roots: Vec<u32>,
    nodes: Vec<Node>,
}

// === impl Node ===

impl Node {
    /// A leaf with its value.
    pub fn leaf(value: f32) -> Self {
        Self { feature: LEAF, left: 0, right: 0, threshold: 0.0, value }
    }

    /// A question: is the feature at most the threshold? Children by their place in the tree; `value` is the mean below.
    pub fn question(feature: u16, threshold: f32, left: u16, right: u16, value: f32) -> Self {
        Self { feature, left, right, threshold, value }
    }
}

// === impl Forest ===

impl Forest {
    /// A forest without trees.
    pub fn new(base: f32) -> Self {
        Self { base, ..Self::default() }
    }

    /// Plants a tree; its first node is the root.
    pub fn plant(&mut self, tree: &[Node]) {
        self.roots.push(self.nodes.len() as u32);
        self.nodes.extend_from_slice(tree);
    }

    /// The sum for these features.
    pub fn sum(&self, features: &[f32]) -> f32 {
        let trees = self.roots.iter().map(|root| self.walk(*root as usize, features, |_, _| {}));
        self.base + trees.sum::<f32>()
    }

    /// Adds each feature's part of the sum to `moved`; what is left is the mean of all.
    pub fn explain(&self, features: &[f32], moved: &mut [f32]) {
        for root in &self.roots {
            self.walk(*root as usize, features, |feature, by| {
                if let Some(moved) = moved.get_mut(feature) {
                    *moved += by;
                }
            });
        }
    }

    fn walk(&self, root: usize, features: &[f32], mut moved: impl FnMut(usize, f32)) -> f32 {
        let Some(mut node) = self.nodes.get(root) else { return 0.0 };
        while node.feature != LEAF {
            let value = features.get(usize::from(node.feature)).copied().unwrap_or(0.0);
            let next = if value <= node.threshold { node.left } else { node.right };
            let Some(child) = self.nodes.get(root + usize::from(next)) else { return node.value };
            moved(usize::from(node.feature), child.value - node.value);
            node = child;
        }
        node.value
    }

    pub(super) fn store(&self, blob: &mut Blob) {
        blob.f32(self.base);
        blob.u32(self.roots.len() as u32);
        blob.u32(self.nodes.len() as u32);
        self.roots.iter().for_each(|root| blob.u32(*root));
        // Column by column: alike numbers side by side compress better.
        self.nodes.iter().for_each(|node| blob.u16(node.feature));
        self.nodes.iter().for_each(|node| blob.u16(node.left));
        self.nodes.iter().for_each(|node| blob.u16(node.right));
        self.nodes.iter().for_each(|node| blob.f32(node.threshold));
        self.nodes.iter().for_each(|node| blob.f32(node.value));
    }

    pub(super) fn load(take: &mut Take<'_>, features: usize) -> Result<Self, HeadError> {
        let base = take.f32()?;
        let (trees, count) = (take.u32()? as usize, take.u32()? as usize);
        let roots = take.many(trees, Take::u32)?;
        let asked = take.many(count, Take::u16)?;
        let left = take.many(count, Take::u16)?;
        let right = take.many(count, Take::u16)?;
        let thresholds = take.many(count, Take::f32)?;
        let values = take.many(count, Take::f32)?;
        let mut nodes = Vec::with_capacity(count);
        for at in 0..count {
            let node = Node {
                feature: asked[at],
                left: left[at],
                right: right[at],
                threshold: thresholds[at],
                value: values[at],
            };
            if node.feature != LEAF && usize::from(node.feature) >= features {
                return Err(HeadError::Inconsistent("a tree asks for a feature that does not exist"));
            }
            nodes.push(node);
        }
        let forest = Self { base, roots, nodes };
        if !forest.ends() {
            return Err(HeadError::Inconsistent("a tree has no end"));
        }
        Ok(forest)
    }

    /// Every child lies behind its parent and inside its tree: walking ends.
    fn ends(&self) -> bool {
        let bounds = self.roots.iter().skip(1).copied().chain([self.nodes.len() as u32]);
        self.roots.iter().zip(bounds).all(|(start, end)| {
            let Some(tree) = self.nodes.get(*start as usize..end as usize) else { return false };
            !tree.is_empty()
                && tree.iter().enumerate().filter(|(_, node)| node.feature != LEAF).all(|(at, node)| {
                    let children = [usize::from(node.left), usize::from(node.right)];
                    children.iter().all(|child| *child > at && *child < tree.len())
                })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Forest {
        let mut forest = Forest::new(0.25);
        forest.plant(&[Node::question(1, 2.0, 1, 2, 0.0), Node::leaf(-0.5), Node::leaf(0.5)]);
        forest.plant(&[Node::leaf(0.125)]);
        forest
    }

    #[test]
    fn moves_and_mean_add_up_to_the_sum() {
        let (forest, mut moved) = (small(), [0.0; 2]);
        forest.explain(&[9.0, 3.0], &mut moved);
        assert_eq!((forest.sum(&[9.0, 3.0]), moved), (0.875, [0.0, 0.5]));
        assert_eq!(forest.sum(&[9.0, 1.0]), -0.125);
    }

    #[test]
    fn a_forest_survives_storing_and_a_loop_is_refused() {
        let mut blob = Blob::default();
        small().store(&mut blob);
        assert_eq!(Forest::load(&mut Take::new(&blob.0), 2).unwrap(), small());
        assert!(Forest::load(&mut Take::new(&blob.0), 1).is_err());
        let mut looping = small();
        looping.nodes[0].left = 0;
        let mut blob = Blob::default();
        looping.store(&mut blob);
        assert!(Forest::load(&mut Take::new(&blob.0), 2).is_err());
    }
}
