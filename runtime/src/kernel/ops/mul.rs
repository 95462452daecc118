//! Products of maps with each other and with a factor per channel.

use crate::graph::Shape;
use crate::kernel::call::job::Job;
use crate::kernel::call::lines::each_line;
use crate::kernel::memory::map::Map;

/// The product of all inputs, whose whole shapes are `shapes`; a vector applies to all elements of
/// each channel.
pub(crate) fn mul(job: &Job<'_>, shapes: &[Shape], inputs: &[&Map], output: &mut Map) {
    let lanes = job.output.lanes as usize;
    let is_map = |shape: &Shape| shapes.iter().all(|other| shape.elements() >= other.elements());
    let inputs = inputs.iter().zip(shapes).map(|(map, shape)| (*map, is_map(shape)));
    let (maps, vectors): (Vec<_>, Vec<_>) = inputs.partition(|(_, is_map)| *is_map);
    let Some(((first, _), rest)) = maps.split_first() else { return };
    each_line(job, output.as_mut_slice(), |line, out| {
        let channel = line.channels.start;
        out.copy_from_slice(&first.as_slice()[first.line(channel, line.row)]);
        for (map, _) in rest {
            let factors = &map.as_slice()[map.line(channel, line.row)];
            out.iter_mut().zip(factors).for_each(|(out, factor)| *out *= factor);
        }
        for (vector, _) in &vectors {
            match &vector.as_slice()[vector.line(channel, 0)] {
                [factor] => out.iter_mut().for_each(|out| *out *= factor),
                factors => {
                    for pixel in out.chunks_exact_mut(lanes) {
                        pixel.iter_mut().zip(factors).for_each(|(out, factor)| *out *= factor);
                    }
                }
            }
        }
    });
}
