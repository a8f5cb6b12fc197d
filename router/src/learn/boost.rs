//! Gradient boosted trees on binned features.
//!
//! Friedman's boosting with the second-order gains of XGBoost and the habits of LightGBM: features fall into at most 63
//! bins by quantile, a tree grows leaf by leaf where most is gained, and every tree sees a part of the rows and of the
//! features. The loss is the squared error (the target is a gain between -1 and 1, not a class).
//!
//! Own code, because no crate does this with a tree that can be taken apart and stored compactly: `gbdt` has no bins and no
//! bounds on leaves by gain, `forust-ml` states no licence in its manifest, which `deny.toml` refuses, and `perpetual`
//! chooses its size itself and is a release candidate. 20,000 rows of 170 features and 400 trees take some three seconds.

use crate::probe::forest::{Forest, Node};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

/// Most bins of a feature.
const BINS: usize = 63;

/// How trees grow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Growth {
    /// How many trees.
    pub trees: usize,
    /// How much of each tree's answer is taken.
    pub rate: f32,
    /// Most leaves of a tree.
    pub leaves: usize,
    /// Most questions from the root to a leaf.
    pub depth: usize,
    /// Fewest rows in a leaf.
    pub least: u32,
    /// The share of the features that a tree sees.
    pub features: f64,
    /// The share of the rows that a tree sees.
    pub rows: f64,
    /// How strongly leaves are drawn to 0, in rows.
    pub draw: f64,
}

impl Default for Growth {
    fn default() -> Self {
        Self { trees: 400, rate: 0.03, leaves: 15, depth: 5, least: 60, features: 0.4, rows: 0.7, draw: 10.0 }
    }
}

/// Rows of features, each value replaced by the bin it falls into.
#[derive(Clone, Debug)]
pub struct Binned {
    width: usize,
    bins: Vec<u8>,
    /// For each feature the upper end of each bin but the last.
    edges: Vec<Vec<f32>>,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    gradient: f64,
    weight: f64,
    rows: u32,
}

#[derive(Clone, Copy)]
struct Split {
    gain: f64,
    feature: usize,
    bin: u8,
}

struct Leaf {
    node: usize,
    depth: usize,
    rows: Vec<u32>,
    cells: Vec<Cell>,
    best: Option<Split>,
}

/// A node while its tree grows: bins instead of thresholds.
struct Growing {
    split: Option<(usize, u8, usize, usize)>,
    value: f32,
}

struct Grower<'a> {
    growth: &'a Growth,
    binned: &'a Binned,
    features: Vec<usize>,
    gradients: &'a [f32],
    weights: &'a [f32],
}

// === impl Binned ===

impl Binned {
    /// Bins rows of equal width.
    pub fn of(rows: &[&[f32]]) -> Self {
        let width = rows.first().map_or(0, |row| row.len());
        let edges: Vec<Vec<f32>> = (0..width)
            .map(|feature| {
                let mut values: Vec<f32> = rows.iter().map(|row| row[feature]).collect();
                values.sort_by(f32::total_cmp);
                edges_of(&values)
            })
            .collect();
        let mut bins = Vec::with_capacity(rows.len() * width);
        for row in rows {
            bins.extend(row.iter().zip(&edges).map(|(value, edges)| edges.partition_point(|edge| edge < value) as u8));
        }
        Self { width, bins, edges }
    }

    fn row(&self, at: u32) -> &[u8] {
        &self.bins[at as usize * self.width..][..self.width]
    }
}

/// Edges between different values, at most [`BINS`] bins of about equally many rows.
fn edges_of(sorted: &[f32]) -> Vec<f32> {
    let mut edges: Vec<f32> = Vec::new();
    let (mut in_bin, mut bins_left, mut rows_left) = (0usize, BINS, sorted.len());
    for two in sorted.windows(2) {
        in_bin += 1;
        let is_full = in_bin * bins_left >= rows_left;
        if two[0] < two[1] && is_full && bins_left > 1 {
            edges.push(two[0] + (two[1] - two[0]) / 2.0);
            rows_left -= in_bin;
            bins_left -= 1;
            in_bin = 0;
        }
    }
    edges
}

/// Grows a forest for `targets` on the rows named in `rows`, each counting by its weight.
pub fn grow(binned: &Binned, rows: &[u32], targets: &[f32], weights: &[f32], growth: &Growth, seed: u64) -> Forest {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let total: f64 = rows.iter().map(|row| f64::from(weights[*row as usize])).sum();
    let sum: f64 = rows.iter().map(|row| f64::from(weights[*row as usize] * targets[*row as usize])).sum();
    let base = (sum / total.max(f64::MIN_POSITIVE)) as f32;
    let mut forest = Forest::new(base);
    let mut guesses = vec![base; targets.len()];
    let mut gradients = vec![0f32; targets.len()];
    for _ in 0..growth.trees {
        for row in rows {
            let at = *row as usize;
            gradients[at] = weights[at] * (guesses[at] - targets[at]);
        }
        let seen: Vec<u32> = rows.iter().copied().filter(|_| chance(&mut random) < growth.rows).collect();
        let grower = Grower {
            growth,
            binned,
            features: draw(binned.width, growth.features, &mut random),
            gradients: &gradients,
            weights,
        };
        let tree = grower.tree(seen);
        for row in rows {
            guesses[*row as usize] += walk(&tree, binned.row(*row));
        }
        forest.plant(&finished(&tree, binned));
    }
    forest
}

fn chance(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn draw(width: usize, share: f64, random: &mut ChaCha8Rng) -> Vec<usize> {
    let wanted = ((width as f64 * share).ceil() as usize).clamp(1.min(width), width);
    let mut all: Vec<usize> = (0..width).collect();
    for at in 0..wanted {
        let other = at + (random.next_u64() % (width - at) as u64) as usize;
        all.swap(at, other);
    }
    all.truncate(wanted);
    all.sort_unstable();
    all
}

// === impl Grower ===

impl Grower<'_> {
    fn tree(&self, rows: Vec<u32>) -> Vec<Growing> {
        let cells = self.cells(&rows);
        let mut nodes = vec![Growing { split: None, value: self.value(&cells) }];
        let mut leaves = vec![self.leaf(0, 0, rows, cells)];
        while leaves.len() < self.growth.leaves {
            let gain_of = |leaf: &Leaf| leaf.best.map_or(0.0, |split| split.gain);
            let Some(at) = (0..leaves.len()).max_by(|a, b| gain_of(&leaves[*a]).total_cmp(&gain_of(&leaves[*b])))
            else {
                break;
            };
            let Some(split) = leaves[at].best else { break };
            let leaf = leaves.swap_remove(at);
            let (left, right): (Vec<u32>, Vec<u32>) =
                leaf.rows.iter().partition(|row| self.binned.row(**row)[split.feature] <= split.bin);
            // The smaller child is counted, the larger one is what remains.
            let small = if left.len() <= right.len() { &left } else { &right };
            let counted = self.cells(small);
            let rest: Vec<Cell> = leaf.cells.iter().zip(&counted).map(|(all, part)| all.less(*part)).collect();
            let (left_cells, right_cells) = if left.len() <= right.len() { (counted, rest) } else { (rest, counted) };
            let (left_node, right_node) = (nodes.len(), nodes.len() + 1);
            nodes.push(Growing { split: None, value: self.value(&left_cells) });
            nodes.push(Growing { split: None, value: self.value(&right_cells) });
            nodes[leaf.node].split = Some((split.feature, split.bin, left_node, right_node));
            leaves.push(self.leaf(left_node, leaf.depth + 1, left, left_cells));
            leaves.push(self.leaf(right_node, leaf.depth + 1, right, right_cells));
        }
        nodes
    }

    fn cells(&self, rows: &[u32]) -> Vec<Cell> {
        let mut cells = vec![Cell::default(); self.features.len() * (BINS + 1)];
        for row in rows {
            let (gradient, weight) = (f64::from(self.gradients[*row as usize]), f64::from(self.weights[*row as usize]));
            let bins = self.binned.row(*row);
            for (slot, feature) in self.features.iter().enumerate() {
                let cell = &mut cells[slot * (BINS + 1) + usize::from(bins[*feature])];
                cell.gradient += gradient;
                cell.weight += weight;
                cell.rows += 1;
            }
        }
        cells
    }

    fn sum(&self, cells: &[Cell]) -> Cell {
        cells.iter().take(BINS + 1).fold(Cell::default(), |sum, cell| sum.and(*cell))
    }

    fn value(&self, cells: &[Cell]) -> f32 {
        let sum = self.sum(cells);
        (-sum.gradient / (sum.weight + self.growth.draw)) as f32 * self.growth.rate
    }

    fn leaf(&self, node: usize, depth: usize, rows: Vec<u32>, cells: Vec<Cell>) -> Leaf {
        let best = if depth < self.growth.depth { self.best(&cells) } else { None };
        Leaf { node, depth, rows, cells, best }
    }

    fn best(&self, cells: &[Cell]) -> Option<Split> {
        let all = self.sum(cells);
        let score = |cell: Cell| cell.gradient * cell.gradient / (cell.weight + self.growth.draw);
        let mut best: Option<Split> = None;
        for (slot, feature) in self.features.iter().enumerate() {
            let mut left = Cell::default();
            for bin in 0..self.binned.edges[*feature].len() {
                left = left.and(cells[slot * (BINS + 1) + bin]);
                let right = all.less(left);
                if left.rows < self.growth.least {
                    continue;
                }
                if right.rows < self.growth.least {
                    break;
                }
                let gain = score(left) + score(right) - score(all);
                if gain > 1e-9 && best.is_none_or(|best| gain > best.gain) {
                    best = Some(Split { gain, feature: *feature, bin: bin as u8 });
                }
            }
        }
        best
    }
}

// === impl Cell ===

impl Cell {
    fn and(self, other: Self) -> Self {
        Self {
            gradient: self.gradient + other.gradient,
            weight: self.weight + other.weight,
            rows: self.rows + other.rows,
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            gradient: self.gradient - other.gradient,
            weight: self.weight - other.weight,
            rows: self.rows.saturating_sub(other.rows),
        }
    }
}

fn walk(tree: &[Growing], bins: &[u8]) -> f32 {
    let mut at = 0;
    while let Some((feature, bin, left, right)) = tree[at].split {
        at = if bins[feature] <= bin { left } else { right };
    }
    tree[at].value
}

fn finished(tree: &[Growing], binned: &Binned) -> Vec<Node> {
    tree.iter()
        .map(|node| match node.split {
            None => Node::leaf(node.value),
            Some((feature, bin, left, right)) => {
                let threshold = binned.edges[feature][usize::from(bin)];
                Node::question(feature as u16, threshold, left as u16, right as u16, node.value)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_forest_learns_what_no_line_can() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let rows: Vec<Vec<f32>> = (0..4_000).map(|_| (0..4).map(|_| chance(&mut random) as f32).collect()).collect();
        let views: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let targets: Vec<f32> = rows.iter().map(|row| f32::from(u8::from((row[0] > 0.5) != (row[1] > 0.5)))).collect();
        let growth = Growth { trees: 100, rate: 0.1, features: 1.0, ..Growth::default() };
        let train: Vec<u32> = (0..3_000).collect();
        let binned = Binned::of(&views);
        let forest = grow(&binned, &train, &targets, &vec![1.0; 4_000], &growth, 1);
        let wrong = (3_000..4_000).filter(|row| (forest.sum(&rows[*row]) > 0.5) != (targets[*row] > 0.5)).count();
        assert!(wrong < 40, "{wrong} of 1000");
        assert_eq!(forest, grow(&binned, &train, &targets, &vec![1.0; 4_000], &growth, 1), "the same again");
    }

    proptest! {
        #[test]
        fn bins_keep_the_order(mut values in proptest::collection::vec(-5f32..5.0, 2..300)) {
            values.sort_by(f32::total_cmp);
            let rows: Vec<&[f32]> = values.chunks(1).collect();
            let binned = Binned::of(&rows);
            prop_assert!(binned.edges[0].len() < BINS);
            prop_assert!(binned.bins.windows(2).all(|two| two[0] <= two[1]));
        }
    }
}
