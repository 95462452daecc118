//! Rows with padding on both sides, read with a stride.

/// Copies every `stride`th element of `row`, from place `x` on, which may lie before or after
/// it: there is `padding`.
#[inline(always)]
pub(super) fn copy_padded(row: &[f32], x: i64, stride: usize, padding: f32, out: &mut [f32]) {
    let before = strides((-x).max(0) as usize, stride).min(out.len());
    let start = (x + (before * stride) as i64) as usize;
    let inside = strides(row.len().saturating_sub(start), stride).min(out.len() - before);
    out[..before].fill(padding);
    out[before + inside..].fill(padding);
    if inside == 0 {
        return;
    }
    let (row, out) = (&row[start..], &mut out[before..before + inside]);
    match stride {
        1 => out.copy_from_slice(&row[..inside]),
        2 => {
            let (pairs, rest) = row.as_chunks::<2>();
            out.iter_mut().zip(pairs).for_each(|(out, pair)| *out = pair[0]);
            if let ([last], true) = (rest, inside > pairs.len()) {
                out[pairs.len()] = *last;
            }
        }
        _ => out.iter_mut().zip(row.iter().step_by(stride)).for_each(|(out, x)| *out = *x),
    }
}

/// How many strides begin within `len`. Most strides are one, and a division is slow.
#[inline(always)]
fn strides(len: usize, stride: usize) -> usize {
    if stride == 1 { len } else { len.div_ceil(stride) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_padded_on_both_sides() {
        let row = [1.0, 2.0, 3.0, 4.0, 5.0];
        let copied = |x, stride| {
            let mut out = [9.0; 4];
            copy_padded(&row, x, stride, 0.0, &mut out);
            out
        };
        assert_eq!(copied(-1, 1), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(copied(3, 1), [4.0, 5.0, 0.0, 0.0]);
        assert_eq!(copied(-1, 2), [0.0, 2.0, 4.0, 0.0]);
        assert_eq!(copied(0, 2), [1.0, 3.0, 5.0, 0.0]);
        assert_eq!(copied(-4, 3), [0.0, 0.0, 3.0, 0.0]);
        assert_eq!(copied(-9, 1), [0.0; 4]);
        assert_eq!(copied(7, 1), [0.0; 4]);
    }
}
