//! Folds layers into others.
//!
//! Exporters write x sigmoid(x) as two nodes that both read x, so neither can be folded into the
//! layer that computes x while nodes are loaded:
//!
//! ```text
//! Conv x -> Sigmoid s -> Mul(x, s)      conv; identity, Sigmoid; mul    node by node
//!                                       conv; identity, Silu            once Mul is loaded
//!                                       conv, Silu                      once all are loaded
//! ```

use super::constant::{Constant, Element};
use super::error::Problem;
use super::import::{Import, View};
use crate::graph::{Activation, Conv, DType, Layer, Op, ParameterId, TensorId, Window};

/// The factor and summand of the hard sigmoid whose product with x is a hard swish.
const HARD_SWISH: (f32, f32) = (1.0 / 6.0, 0.5);

impl Import {
    /// Applies `activation` to a view: in the layer that computes it, or in a layer of its own.
    pub(crate) fn activate(
        &mut self,
        name: &str,
        view: &View,
        activation: Activation,
    ) -> Result<View, Problem> {
        if let Some(index) = self.foldable(view) {
            self.layer_mut(index).activation = activation;
            return Ok(view.clone());
        }
        let result = self.layer(name, Op::Identity, &[view])?;
        if let Some(layer) = self.layers.last_mut() {
            layer.activation = activation;
        }
        result.reshaped(view.dims.clone())
    }

    /// Multiplies channel c of a view by `scale[c]` and adds `shift[c]`: in the convolution that
    /// computes it, or in a depthwise 1x1 convolution of its own. There must be a number for every
    /// channel.
    pub(crate) fn affine(
        &mut self,
        name: &str,
        view: &View,
        scale: &[f32],
        shift: &[f32],
    ) -> Result<View, Problem> {
        let channels = self.shape(view).channels;
        if scale.len() != channels as usize || shift.len() != channels as usize {
            let wanted = format!("there are {channels} channels");
            return Err(Problem::Dims { dims: vec![scale.len() as u64], wanted });
        }
        let layer = self.foldable(view).map(|index| (index, &self.layers[index]));
        let Some((index, Layer { name: layer_name, op: Op::Conv(conv), .. })) = layer else {
            let weight = self.per_feature(&format!("{name}/scale"), scale);
            let bias = self.per_feature(&format!("{name}/shift"), shift);
            let window = Window::point();
            let (scale, bias) = (None, Some(bias));
            let op = Conv { features: channels, groups: channels, window, weight, scale, bias };
            return self.layer(name, Op::Conv(op), &[view])?.reshaped(view.dims.clone());
        };
        let (layer_name, conv) = (layer_name.clone(), conv.clone());
        // (x a + b) s + t = x (a s) + (b s + t)
        let old_scale = self.numbers_of(conv.scale, 1.0, scale.len())?;
        let old_bias = self.numbers_of(conv.bias, 0.0, scale.len())?;
        let new_scale: Vec<f32> = old_scale.iter().zip(scale).map(|(a, s)| a * s).collect();
        let new_bias: Vec<f32> =
            old_bias.iter().zip(scale).zip(shift).map(|((b, s), t)| b.mul_add(*s, *t)).collect();
        let plain = new_scale.iter().all(|factor| *factor == 1.0);
        let scale = (!plain).then(|| self.per_feature(&format!("{layer_name}/scale"), &new_scale));
        let bias = self.per_feature(&format!("{layer_name}/bias"), &new_bias);
        self.layer_mut(index).op = Op::Conv(Conv { scale, bias: Some(bias), ..conv });
        Ok(view.clone())
    }

    /// The index of the layer that computes a view's tensor, if nothing else reads that tensor and
    /// the layer has no activation yet.
    pub(crate) fn foldable(&self, view: &View) -> Option<usize> {
        let index = view.tensor.index().checked_sub(self.inputs.len())?;
        let linear = self.layers.get(index)?.activation == Activation::Linear;
        (view.sole && linear).then_some(index)
    }

    /// The numbers of a parameter with one per feature; `default` if there is no parameter.
    fn numbers_of(
        &self,
        id: Option<ParameterId>,
        default: f32,
        features: usize,
    ) -> Result<Vec<f32>, Problem> {
        let Some(id) = id else { return Ok(vec![default; features]) };
        let (parameter, data) = &self.parameters[id.index()];
        let element = match parameter.dtype {
            DType::F32 => Element::F32,
            DType::F16 => Element::F16,
        };
        let dims = vec![u64::from(parameter.features)];
        let (name, data) = (parameter.name.clone(), data.clone());
        Constant { name, dims, element, data }.to_floats()
    }

    /// If x times `gate` is an activation of x and nothing else reads `gate`, makes the layer of
    /// `gate` compute the product and returns true.
    pub(crate) fn fold_gate(&mut self, x: &View, gate: &View) -> bool {
        let first = self.inputs.len();
        let index = gate.tensor.index().checked_sub(first).filter(|at| *at < self.layers.len());
        let Some(index) = index.filter(|_| gate.sole && gate.dims == x.dims) else { return false };
        let layer = &self.layers[index];
        if layer.op != Op::Identity || layer.inputs != [x.tensor] {
            return false;
        }
        self.layer_mut(index).activation = match self.layers[index].activation {
            Activation::Sigmoid => Activation::Silu,
            Activation::HardSigmoid { alpha, beta }
                if (alpha - HARD_SWISH.0).abs() < 1e-6 && beta == HARD_SWISH.1 =>
            {
                Activation::HardSwish
            }
            _ => return false,
        };
        true
    }

    /// Folds layers that only apply an activation into the layer before, if nothing else reads
    /// that.
    pub(super) fn fold_activations(&mut self, outputs: &mut [(String, View)]) {
        let first = self.inputs.len();
        let mut readers = vec![0; self.shapes.len()];
        let read = self.layers.iter().flat_map(|layer| &layer.inputs);
        let read = read.copied().chain(outputs.iter().map(|(_, view)| view.tensor));
        read.for_each(|tensor| readers[tensor.index()] += 1);
        // By tensor: its id after folding.
        let mut renamed: Vec<TensorId> = (0..first as u32).map(TensorId).collect();
        let mut shapes = self.shapes[..first].to_vec();
        let mut kept: Vec<Layer> = Vec::new();
        for (index, mut layer) in std::mem::take(&mut self.layers).into_iter().enumerate() {
            let sole = layer.inputs.iter().all(|tensor| readers[tensor.index()] == 1);
            layer.inputs.iter_mut().for_each(|tensor| *tensor = renamed[tensor.index()]);
            let maker = match (&layer.op, layer.inputs.first()) {
                (Op::Identity, Some(tensor)) if sole => tensor.index().checked_sub(first),
                _ => None,
            };
            let linear = |layer: &Layer| layer.activation == Activation::Linear;
            renamed.push(match maker.filter(|maker| linear(&kept[*maker])) {
                Some(maker) => {
                    kept[maker].activation = layer.activation;
                    TensorId((first + maker) as u32)
                }
                None => {
                    kept.push(layer);
                    shapes.push(self.shapes[first + index]);
                    TensorId(shapes.len() as u32 - 1)
                }
            });
        }
        self.layers = kept;
        self.shapes = shapes;
        outputs.iter_mut().for_each(|(_, view)| view.tensor = renamed[view.tensor.index()]);
    }
}
