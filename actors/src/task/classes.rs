//! Classes and their probabilities.

use crate::api::Output;

/// A class and how probable it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Class {
    /// Its index.
    pub index: usize,
    /// From 0 to 1.
    pub probability: f32,
}

/// The `count` most probable classes, the most probable one first. Scores become probabilities by
/// softmax, unless they are probabilities already: none below 0, and 1 in all.
pub fn classes(output: &Output, count: usize) -> Vec<Class> {
    let scores = &output.data;
    let sum: f32 = scores.iter().sum();
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let is_done = (sum - 1.0).abs() < 1e-3 && scores.iter().all(|score| *score >= 0.0);
    let weight = |score: f32| if is_done { score } else { (score - largest).exp() };
    let total: f32 = scores.iter().map(|score| weight(*score)).sum();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    order.truncate(count);
    let class = |index: usize| Class { index, probability: weight(scores[index]) / total };
    order.into_iter().map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(data: Vec<f32>) -> Output {
        Output { name: "y".into(), dims: vec![1, data.len() as u64], data }
    }

    #[test]
    fn scores_become_probabilities_once() {
        let found = classes(&output(vec![1000.0, 1000.0 + 3f32.ln(), -5.0]), 2);
        assert_eq!(found.iter().map(|class| class.index).collect::<Vec<_>>(), [1, 0]);
        assert!((found[0].probability - 0.75).abs() < 1e-4, "{found:?}");
        let found = classes(&output(vec![0.2, 0.7, 0.1]), 1);
        assert!((found[0].probability - 0.7).abs() < 1e-6);
    }

    #[test]
    fn there_may_be_fewer_classes_than_asked_for() {
        assert!(classes(&output(Vec::new()), 5).is_empty());
        assert_eq!(classes(&output(vec![2.0]), 5), [Class { index: 0, probability: 1.0 }]);
    }
}
