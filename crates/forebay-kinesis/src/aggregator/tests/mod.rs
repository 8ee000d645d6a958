//! Tests of the aggregator: single rules against a stand, and random runs against a model of the service.

mod duplicates;
mod model;
mod rules;
mod stand;
