//! The random graphs and plans of the other tests are valid.

mod random_graph;

use edgeld_runtime::program::derive;
use proptest::prelude::*;
use random_graph::{plan::random_dice, random_graph};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_plans_fit_random_graphs(graph in random_graph(), dice in random_dice(32)) {
        let plan = dice.plan(&graph);
        prop_assert_eq!(plan.check(&graph), Ok(()));
        prop_assert!(derive(&graph, &plan).is_ok());
    }
}
