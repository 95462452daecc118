//! Boxes, and which of many that overlap is kept.

/// A box in a picture, in pixels from its top left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The first column.
    pub left: f32,
    /// The first row.
    pub top: f32,
    /// Where columns end.
    pub right: f32,
    /// Where rows end.
    pub bottom: f32,
}

impl Bounds {
    /// Around a centre.
    pub(super) fn around([x, y]: [f32; 2], [width, height]: [f32; 2]) -> Bounds {
        let (half, tall) = (width / 2.0, height / 2.0);
        Bounds { left: x - half, top: y - tall, right: x + half, bottom: y + tall }
    }

    /// Pixels in it.
    pub fn area(&self) -> f32 {
        (self.right - self.left).max(0.0) * (self.bottom - self.top).max(0.0)
    }

    /// The part of both together that both cover, from 0 to 1: intersection over union.
    pub fn overlap(&self, other: &Bounds) -> f32 {
        let both = Bounds {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        };
        let both = both.area();
        let either = self.area() + other.area() - both;
        if either > 0.0 { both / either } else { 0.0 }
    }
}

/// An object that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// The index of its class.
    pub class: usize,
    /// How sure the model is, from 0 to 1.
    pub score: f32,
    /// Where it is.
    pub bounds: Bounds,
}

/// Which detections are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The least score.
    pub score: f32,
    /// How much two boxes of one class may overlap; of those that do more, the one with the highest
    /// score is kept.
    pub overlap: f32,
    /// How many at most.
    pub count: usize,
}

impl Default for Limits {
    /// What detectors are shown with: a score of 0.25, an overlap of 0.45, 300 boxes.
    fn default() -> Limits {
        Limits { score: 0.25, overlap: 0.45, count: 300 }
    }
}

/// The most candidates that are compared with each other.
const MOST_CANDIDATES: usize = 30_000;

/// Of boxes of one class that overlap too much, keeps the one with the highest score: greedy
/// non-maximum suppression.
pub(super) fn without_overlaps(mut found: Vec<Detection>, limits: Limits) -> Vec<Detection> {
    found.retain(|one| one.score >= limits.score && one.score.is_finite());
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(MOST_CANDIDATES);
    let mut kept: Vec<Detection> = Vec::new();
    for one in found {
        if kept.len() == limits.count {
            break;
        }
        let hides = |other: &Detection| {
            other.class == one.class && other.bounds.overlap(&one.bounds) > limits.overlap
        };
        if !kept.iter().any(hides) {
            kept.push(one);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(class: usize, score: f32, left: f32) -> Detection {
        let bounds = Bounds { left, top: 0.0, right: left + 10.0, bottom: 10.0 };
        Detection { class, score, bounds }
    }

    #[test]
    fn overlap_is_intersection_over_union() {
        let [a, b, c] = [0.0, 5.0, 20.0].map(|left| one(0, 1.0, left).bounds);
        assert_eq!(a.overlap(&a), 1.0);
        assert!((a.overlap(&b) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(a.overlap(&c), 0.0);
        let empty = Bounds { right: 0.0, ..a };
        assert_eq!(empty.overlap(&empty), 0.0);
    }

    #[test]
    fn the_best_of_each_class_hides_others_of_that_class() {
        let found = vec![one(0, 0.6, 1.0), one(0, 0.9, 0.0), one(1, 0.5, 0.0), one(0, 0.1, 50.0)];
        let kept = without_overlaps(found, Limits::default());
        assert_eq!(kept, [one(0, 0.9, 0.0), one(1, 0.5, 0.0)]);
        let limits = Limits { count: 1, ..Limits::default() };
        assert_eq!(without_overlaps(vec![one(0, 0.3, 0.0), one(1, 0.4, 0.0)], limits).len(), 1);
        assert!(without_overlaps(vec![one(0, f32::NAN, 0.0)], Limits::default()).is_empty());
    }
}
