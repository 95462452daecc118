//! The graph under construction, while nodes are loaded one after another.
//!
//! A layer that has been added can still change: a later BatchNormalization or Relu that is the
//! only reader of its result is folded into it. A name of the file stands for a [`Value`]: a
//! constant or a *view*, which is a tensor of the graph (channels x rows x width) together with the
//! dimensions that it has in the file. Flatten, Reshape, Squeeze and Unsqueeze create another view
//! of the same tensor and no layer:
//!
//! ```text
//! MaxPool   pool5: 512x7x7   seen as [1, 512, 7, 7]
//! Flatten   pool5: 512x7x7   seen as [1, 25088]
//! Gemm      a convolution over pool5 whose window is 7x7
//! ```

use std::collections::HashMap;

use super::constant::{Constant, Data, Element, product};
use super::error::Problem;
use crate::graph::{
    Activation, Builder, DType, Graph, GraphError, Layer, Op, Parameter, ParameterId, Reorder,
    Shape, Split, TensorId,
};

/// The most channels of a tensor: a bound on what is allocated per channel.
pub(crate) const MAX_CHANNELS: u32 = 1 << 20;

/// The most operations while loading: some seconds.
const MOST_FOLDED: f64 = 2e9;

/// What a name of the file stands for.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Computed at run time.
    View(View),
    /// Known while loading.
    Constant(Constant),
}

impl Value {
    /// The dimensions it has in the file.
    pub(crate) fn dims(&self) -> &[u64] {
        match self {
            Value::View(view) => &view.dims,
            Value::Constant(constant) => &constant.dims,
        }
    }

    /// The same elements with other dimensions.
    pub(crate) fn reshaped(&self, dims: Vec<u64>) -> Result<Value, Problem> {
        Ok(match self {
            Value::View(view) => Value::View(view.reshaped(dims)?),
            Value::Constant(constant) => Value::Constant(constant.reshaped(dims)?),
        })
    }

    /// The type of its elements in the file.
    pub(crate) fn element(&self) -> Element {
        match self {
            Value::View(view) => view.element,
            Value::Constant(constant) => constant.element,
        }
    }
}

/// A tensor of the graph as the file sees it. Elements are in the same order in both.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) tensor: TensorId,
    pub(crate) dims: Vec<u64>,
    /// Whether only one node reads the tensor, through any view: that node can then be folded into
    /// the layer that computes the tensor.
    pub(crate) sole: bool,
    /// The type of its elements in the file. They are computed as float32 in any case; it says what
    /// a division does.
    pub(crate) element: Element,
}

impl View {
    /// The same elements with other dimensions.
    pub(crate) fn reshaped(&self, dims: Vec<u64>) -> Result<View, Problem> {
        if product(&dims) != product(&self.dims) {
            let wanted = format!("the elements are those of {:?}", self.dims);
            return Err(Problem::Dims { dims, wanted });
        }
        Ok(View { dims, ..self.clone() })
    }
}

/// How far a graph under construction has come.
pub(super) struct Mark {
    layers: usize,
    charged: u64,
}

/// A graph under construction.
pub(crate) struct Import {
    builder_name: String,
    pub(super) inputs: Vec<(String, Vec<u64>)>,
    pub(super) layers: Vec<Layer>,
    pub(super) shapes: Vec<Shape>,
    pub(super) parameters: Vec<(Parameter, Data)>,
    charged: u64,
    /// Operations that were done while loading.
    folded: f64,
    /// Layers as they were before they changed, with the shapes of their results.
    changed: Vec<(usize, Layer, Shape)>,
    /// Names that are taken, each with the last number that was appended to it.
    names: HashMap<String, u64>,
}

impl Import {
    pub(super) fn new(name: &str) -> Import {
        Import {
            builder_name: name.to_owned(),
            inputs: Vec::new(),
            layers: Vec::new(),
            shapes: Vec::new(),
            parameters: Vec::new(),
            charged: 0,
            folded: 0.0,
            changed: Vec::new(),
            names: HashMap::new(),
        }
    }

    /// Adds an input of the model.
    pub(super) fn input(
        &mut self,
        name: &str,
        dims: Vec<u64>,
        element: Element,
    ) -> Result<View, Problem> {
        let shape = shape_of(&dims)?;
        check_size(shape)?;
        self.shapes.push(shape);
        self.inputs.push((name.to_owned(), dims.clone()));
        Ok(View { tensor: TensorId(self.shapes.len() as u32 - 1), dims, sole: false, element })
    }

    /// A unique name for a layer.
    pub(crate) fn unique_name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while self.names.contains_key(&name) {
            let last = self.names.entry(wanted.to_owned()).or_insert(1);
            *last += 1;
            name = format!("{wanted}#{last}");
        }
        self.names.insert(name.clone(), 1);
        name
    }

    /// The shape of a viewed tensor, provided that the view is channels first, as operators need
    /// it: `[1, channels, rows, width]`, or `[1, channels]` for a vector.
    pub(crate) fn channels_first(&self, view: &View) -> Result<Shape, Problem> {
        let shape = self.shapes[view.tensor.index()];
        if (2..=4).contains(&view.dims.len()) && view.dims == dims_of(shape, view.dims.len()) {
            return Ok(shape);
        }
        let wanted = "only an unreshaped 1 x channels x rows x width is supported";
        Err(Problem::Dims { dims: view.dims.clone(), wanted: wanted.to_owned() })
    }

    /// As [`Import::channels_first`], for operators with windows, which need four dimensions.
    pub(crate) fn map(&mut self, name: &str, view: &View) -> Result<(View, Shape), Problem> {
        if view.dims.len() != 4 {
            let wanted = "only 1 x channels x rows x width is supported".to_owned();
            return Err(Problem::Dims { dims: view.dims.clone(), wanted });
        }
        let view = self.make_channels_first(name, view)?;
        let shape = self.shape(&view);
        Ok((view, shape))
    }

    /// The shape of the tensor, whatever the view.
    pub(crate) fn shape(&self, view: &View) -> Shape {
        self.shapes[view.tensor.index()]
    }

    /// Makes a view channels first. Reshaping moves no elements, but takes a layer if what follows
    /// works on channels and rows.
    pub(crate) fn make_channels_first(&mut self, name: &str, view: &View) -> Result<View, Problem> {
        if self.channels_first(view).is_ok() {
            return Ok(view.clone());
        }
        let shape = match (view.dims.len(), view.dims.first()) {
            (2..=4, Some(1)) => shape_of(&view.dims)?,
            _ => {
                let wanted = "only 1 x channels x rows x width is supported".to_owned();
                return Err(Problem::Dims { dims: view.dims.clone(), wanted });
            }
        };
        if let Some(index) = self.foldable(view)
            && let Op::Reorder(order) = &self.layers[index].op
        {
            let op = Op::Reorder(Reorder { shape, ..order.clone() });
            self.layer_mut(index).op = op;
            self.shapes[view.tensor.index()] = shape;
            return Ok(view.clone());
        }
        let name = self.unique_name(&format!("{name}/reshape"));
        let reshape = Op::Reorder(Reorder::reshape(shape));
        self.layer(&name, reshape, &[view])?.reshaped(view.dims.clone())
    }

    /// How far the graph has come, to [return](Import::return_to) to. Forgets earlier marks.
    pub(super) fn mark(&mut self) -> Mark {
        self.changed.clear();
        Mark { layers: self.layers.len(), charged: self.charged }
    }

    /// Takes back all layers that were added since the last mark, and all changes of earlier ones.
    /// Parameters that nothing reads any more are left out in the end.
    pub(super) fn return_to(&mut self, mark: &Mark) {
        self.layers.truncate(mark.layers);
        self.shapes.truncate(self.inputs.len() + mark.layers);
        self.charged = mark.charged;
        for (index, layer, shape) in self.changed.drain(..).rev() {
            if index < mark.layers {
                self.layers[index] = layer;
                self.shapes[self.inputs.len() + index] = shape;
            }
        }
    }

    /// Layer `index`, which may change.
    pub(super) fn layer_mut(&mut self, index: usize) -> &mut Layer {
        let shape = self.shapes[self.inputs.len() + index];
        self.changed.push((index, self.layers[index].clone(), shape));
        &mut self.layers[index]
    }

    /// Adds a layer. The view of its result is channels first, with as many dimensions as the first
    /// input.
    pub(crate) fn layer(&mut self, name: &str, op: Op, inputs: &[&View]) -> Result<View, Problem> {
        let shapes: Vec<Shape> = inputs.iter().map(|view| self.shape(view)).collect();
        let shape = op.output_shape(&shapes)?;
        let dims = dims_of(shape, inputs.first().map_or(4, |view| view.dims.len()));
        check_size(shape)?;
        self.layers.push(Layer {
            name: name.to_owned(),
            op,
            inputs: inputs.iter().map(|view| view.tensor).collect(),
            activation: Activation::Linear,
        });
        self.shapes.push(shape);
        let element = inputs.first().map_or(Element::F32, |view| view.element);
        Ok(View { tensor: TensorId(self.shapes.len() as u32 - 1), dims, sole: true, element })
    }

    /// Replaces the operator of the layer that computes a view; the shape may change.
    pub(crate) fn replace(&mut self, view: &View, op: Op) -> Result<View, Problem> {
        let layer = view.tensor.index() - self.inputs.len();
        let shapes = self.layers[layer].inputs.iter().map(|tensor| self.shapes[tensor.index()]);
        let shape = op.output_shape(&shapes.collect::<Vec<_>>())?;
        self.layer_mut(layer).op = op;
        self.shapes[view.tensor.index()] = shape;
        Ok(View { dims: dims_of(shape, view.dims.len()), ..view.clone() })
    }

    /// How layers may be divided, by the one that can least.
    pub(super) fn split(&self, layers: std::ops::Range<usize>) -> Split {
        let layers = self.layers.get(layers).unwrap_or_default();
        let input = |layer: &Layer| layer.inputs.first().map(|tensor| self.shapes[tensor.index()]);
        layers.iter().map(|layer| layer.op.split(input(layer))).max().unwrap_or(Split::Rows)
    }

    /// Whether so many more operations may be done while loading.
    pub(super) fn may_fold(&mut self, flops: f64) -> bool {
        let may = self.folded + flops <= MOST_FOLDED;
        if may {
            self.folded += flops;
        }
        may
    }

    /// Bytes of all constants that were computed while loading.
    pub(super) fn charged(&self) -> u64 {
        self.charged
    }

    /// Counts the memory of a constant.
    pub(super) fn charge(&mut self, data: &Data) {
        if let Data::Held(bytes) = data {
            self.charged += bytes.len() as u64;
        }
    }

    /// Adds a parameter of `features` rows.
    pub(crate) fn parameter(
        &mut self,
        name: &str,
        features: u32,
        constant: &Constant,
    ) -> Result<ParameterId, Problem> {
        let row = constant.elements() / u64::from(features.max(1));
        let whole = row > 0 && row * u64::from(features) == constant.elements();
        let row = u32::try_from(row).ok().filter(|_| whole).ok_or_else(|| {
            constant.problem(&format!("its elements do not make {features} features"))
        })?;
        let constant = &match constant.element {
            Element::F32 | Element::F16 => constant.clone(),
            _ => {
                let converted = constant.converted()?;
                self.charge(&converted.data);
                converted
            }
        };
        let dtype = constant.dtype()?;
        let parameter = Parameter { name: name.to_owned(), features, row, dtype };
        self.parameters.push((parameter, constant.data.clone()));
        Ok(ParameterId(self.parameters.len() as u32 - 1))
    }

    /// Adds a parameter of one number per feature.
    pub(crate) fn per_feature(&mut self, name: &str, values: &[f32]) -> ParameterId {
        let data = Data::Held(values.iter().flat_map(|value| value.to_le_bytes()).collect());
        let features = values.len() as u32;
        let parameter = Parameter { name: name.to_owned(), features, row: 1, dtype: DType::F32 };
        self.charge(&data);
        self.parameters.push((parameter, data));
        ParameterId(self.parameters.len() as u32 - 1)
    }

    /// Declares an output of the model; if it is an input, too, a layer copies it.
    pub(super) fn output(&mut self, name: &str, view: View) -> Result<View, Problem> {
        if view.tensor.index() >= self.inputs.len() {
            return Ok(view);
        }
        let layer = self.unique_name(name);
        self.layer(&layer, Op::Identity, &[&view])?.reshaped(view.dims)
    }

    /// The finished graph and where its parameters are, without those that folding left unread.
    pub(super) fn finish(
        mut self,
        mut outputs: Vec<(String, View)>,
    ) -> Result<(Graph, Vec<(Parameter, Data)>), GraphError> {
        self.fold_activations(&mut outputs);
        let mut builder = Builder::new(&self.builder_name);
        let mut parameters = Vec::new();
        for layer in &mut self.layers {
            let ids = match &mut layer.op {
                Op::Conv(conv) => [Some(&mut conv.weight), conv.scale.as_mut(), conv.bias.as_mut()],
                Op::Constant(constant) => [Some(&mut constant.value), None, None],
                _ => continue,
            };
            for id in ids.into_iter().flatten() {
                let parameter = self.parameters[id.index()].clone();
                *id = builder.parameter(parameter.0.clone())?;
                parameters.push(parameter);
            }
        }
        for ((name, dims), shape) in self.inputs.into_iter().zip(self.shapes) {
            builder.input(&name, shape, dims)?;
        }
        for layer in self.layers {
            builder.layer(&layer.name, layer.op, &layer.inputs, layer.activation)?;
        }
        for (name, view) in outputs {
            builder.output(&name, view.tensor, view.dims)?;
        }
        Ok((builder.finish()?, parameters))
    }
}

/// The map that holds a tensor of these dimensions.
pub(super) fn shape_of(dims: &[u64]) -> Result<Shape, Problem> {
    let problem = || {
        let wanted = "1 to 2^30 elements in at most 16 dimensions are supported".to_owned();
        Problem::Dims { dims: dims.to_vec(), wanted }
    };
    let narrow: Option<Vec<u32>> = dims.iter().map(|dim| u32::try_from(*dim).ok()).collect();
    let narrow = narrow.filter(|_| product(dims).is_some_and(|elements| elements > 0));
    Shape::of_dims(&narrow.ok_or_else(problem)?).ok_or_else(problem)
}

/// Refuses shapes that are too large.
fn check_size(shape: Shape) -> Result<(), Problem> {
    let dims = dims_of(shape, 4);
    let fits = product(&dims).is_some_and(|elements| elements > 0);
    if !fits || shape.channels > MAX_CHANNELS {
        let wanted = format!("1 to 2^30 elements in at most {MAX_CHANNELS} channels are supported");
        return Err(Problem::Dims { dims, wanted });
    }
    Ok(())
}

/// A shape as dimensions, channels first: `rank` of them if all others are 1, otherwise all four.
fn dims_of(shape: Shape, rank: usize) -> Vec<u64> {
    let all = [1, shape.channels, shape.rows, shape.width].map(u64::from);
    let kept = rank.clamp(2, 4);
    if all[kept..].iter().all(|dim| *dim == 1) { all[..kept].to_vec() } else { all.to_vec() }
}
