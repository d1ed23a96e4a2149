//! Signals, as messages to whoever waits for several things at a time.

use crossbeam_channel::{Receiver, bounded};
use signal_hook::iterator::Signals;

use super::failure::Failure;

/// From now on these signals come here, and do nothing else.
pub fn listen(signals: &[i32]) -> Result<Receiver<i32>, Failure> {
    let failure = |error| Failure::failed(format!("listening for signals: {error}"));
    let mut signals = Signals::new(signals).map_err(failure)?;
    let (tell, told) = bounded(16);
    std::thread::Builder::new()
        .name("npy-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if tell.send(signal).is_err() {
                    return;
                }
            }
        })
        .map_err(failure)?;
    Ok(told)
}
