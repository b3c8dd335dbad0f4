//! A panic is a fault of the firmware; a board in a vehicle starts again. The agent sees a new start.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
