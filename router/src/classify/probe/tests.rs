//! What the shipped head promises.

use super::*;

#[test]
fn the_shipped_head_fits_this_program() {
    let probe = Probe::bundled().unwrap();
    assert_eq!(probe.cold_quantiles().len(), 101);
    assert!(probe.head().version().starts_with("need-"));
    assert_eq!(
        write(probe.head()).unwrap(),
        include_bytes!("../../../assets/heads/need.head"),
        "read and written back"
    );
}
