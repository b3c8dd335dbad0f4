use super::jpeg::tests::IMAGE;
use super::*;
use embedded_hal_mock::eh1::i2c::{Mock as I2cMock, Transaction as Said};
use embedded_hal_mock::eh1::spi::{Mock as SpiMock, Transaction as Spi};
use std::vec::Vec;

fn write(register: u8, value: u8) -> Vec<Spi<u8>> {
    let bytes = [register | 0x80, value].to_vec();
    [Spi::transaction_start(), Spi::write_vec(bytes), Spi::transaction_end()].to_vec()
}

fn read(register: u8, value: &[u8]) -> Vec<Spi<u8>> {
    let (ask, answer) = (Spi::write_vec([register].to_vec()), Spi::read_vec(value.to_vec()));
    [Spi::transaction_start(), ask, answer, Spi::transaction_end()].to_vec()
}

fn found() -> Vec<Spi<u8>> {
    [write(0, 0x55), read(0, &[0x55]), write(0, 0xaa), read(0, &[0xaa]), write(7, 0x80)].concat()
}

fn started() -> Vec<Spi<u8>> {
    [found(), write(7, 0), write(3, 2)].concat()
}

fn begun() -> Vec<Spi<u8>> {
    [write(4, 1), write(4, 0x30), write(4, 2)].concat()
}

fn length(n: usize) -> Vec<Spi<u8>> {
    [read(0x41, &[8]), read(0x42, &[n as u8]), read(0x43, &[(n >> 8) as u8]), read(0x44, &[0])].concat()
}

fn sensor(answer: u8) -> Vec<Said> {
    let say = |bytes: [u8; 2]| Said::write(0x30, bytes.to_vec());
    [say([0xff, 1]), Said::write(0x30, [0x0a].to_vec()), Said::read(0x30, [answer].to_vec())].to_vec()
}

fn sensor_is_set_up() -> Vec<Said> {
    let reset = [[0xff, 1], [0x12, 0x80]].map(|bytes| Said::write(0x30, bytes.to_vec())).to_vec();
    [sensor(0x26), reset, set_up()].concat()
}

/// What the set-up writes, taken down from the driver itself: its meaning is tested beside its tables.
fn set_up() -> Vec<Said> {
    struct Scribe(Vec<Said>);
    impl embedded_hal::i2c::ErrorType for Scribe {
        type Error = core::convert::Infallible;
    }
    impl I2c for Scribe {
        fn transaction(
            &mut self,
            address: u8,
            operations: &mut [embedded_hal::i2c::Operation<'_>],
        ) -> Result<(), Self::Error> {
            for operation in operations {
                if let embedded_hal::i2c::Operation::Write(bytes) = operation {
                    self.0.push(Said::write(address, bytes.to_vec()));
                }
            }
            Ok(())
        }
    }
    let mut scribe = Scribe(Vec::new());
    ov2640::set_up(&mut scribe, (320, 240), 80).unwrap();
    scribe.0
}

struct Bench {
    camera: Camera<SpiMock<u8>, I2cMock>,
    spi: SpiMock<u8>,
    i2c: I2cMock,
    now_us: u64,
}

impl Bench {
    fn new(spi: &[Vec<Spi<u8>>], i2c: &[Said]) -> Self {
        let (spi, i2c) = (SpiMock::new(&spi.concat()), I2cMock::new(i2c));
        Self { camera: Camera::new(spi.clone(), i2c.clone(), 300, 200, 80), spi, i2c, now_us: 0 }
    }

    /// Steps, over its waits, to the next thing that is said, and the bytes that came with it.
    fn next(&mut self) -> (Step, Vec<u8>) {
        let mut buffer = [0; CHUNK];
        loop {
            match self.camera.step(self.now_us, &mut buffer) {
                Step::Wait(us) => self.now_us += us,
                Step::Bytes(n) => return (Step::Bytes(n), buffer[..n].to_vec()),
                step => return (step, Vec::new()),
            }
        }
    }

    /// All that was expected on the buses has happened.
    fn done(mut self) {
        self.spi.done();
        self.i2c.done();
    }
}

fn image_of(at_us: u64, length: usize) -> Step {
    Step::Begins(Image { at_us, width: 320, height: 240, length: length as u32 })
}

#[test]
fn an_image_is_taken_and_read_in_chunks_up_to_its_end() {
    // A comment makes the image longer than a chunk, and the FIFO is longer than the image.
    let comment = [&[0xff, 0xd8, 0xff, 0xfe, 1, 200][..], &[7; 454]].concat();
    let image = [&comment[..], &IMAGE[2..]].concat();
    let buffered = [&image[..], &[0xff, 0xd9, 0, 0]].concat();
    let bursts = buffered.chunks(CHUNK).flat_map(|chunk| read(0x3c, chunk)).collect();
    let spi = [started(), begun(), read(0x41, &[0]), length(buffered.len()), bursts];
    let mut bench = Bench::new(&spi, &sensor_is_set_up());
    assert_eq!(bench.next().0, Step::Ready);
    let taken = bench.now_us;
    bench.camera.capture(taken).unwrap();
    assert_eq!(bench.next().0, image_of(taken, buffered.len()));
    let parts = [bench.next().1, bench.next().1].concat();
    assert_eq!(parts, image);
    assert_eq!(bench.next().0, Step::Ends);
    assert_eq!(bench.next().0, Step::Ready);
    bench.done();
}

#[test]
fn a_camera_that_is_not_there_is_looked_for_again() {
    let nothing = [write(0, 0x55), read(0, &[0xff])].concat();
    let mut bench = Bench::new(&[nothing.clone(), nothing, started()], &sensor_is_set_up());
    assert_eq!(bench.next().0, Step::Failed(Fault::NoChip));
    assert_eq!(bench.next().0, Step::Failed(Fault::NoChip));
    assert!(bench.now_us >= RETRY_US);
    assert_eq!(bench.next().0, Step::Ready, "it was plugged in");
    bench.done();
}

#[test]
fn another_sensor_or_none_is_told() {
    let mut bench = Bench::new(&[started()], &sensor(0x56));
    assert_eq!(bench.next().0, Step::Failed(Fault::NoSensor));
    bench.done();
    let error = embedded_hal::i2c::ErrorKind::NoAcknowledge(embedded_hal::i2c::NoAcknowledgeSource::Address);
    let silence = Said::write(0x30, [0xff, 1].to_vec()).with_error(error);
    let mut bench = Bench::new(&[started()], &[silence]);
    assert_eq!(bench.next().0, Step::Failed(Fault::NoSensor));
    bench.done();
}

#[test]
fn a_camera_that_hangs_is_begun_with_again() {
    let polls = (CAPTURE_US / POLL_US + 2) as usize;
    let busy = (0..polls).flat_map(|_| read(0x41, &[0])).collect();
    let spi = [started(), begun(), busy, started()];
    let mut bench = Bench::new(&spi, &[sensor_is_set_up(), sensor_is_set_up()].concat());
    assert_eq!(bench.next().0, Step::Ready);
    bench.camera.capture(bench.now_us).unwrap();
    assert_eq!(bench.next().0, Step::Failed(Fault::Hangs));
    assert_eq!(bench.next().0, Step::Ready);
    bench.done();
}

#[test]
fn what_is_no_image_gives_the_camera_up() {
    for (buffered, begins) in [(&[0u8; 40][..], true), (&IMAGE[..IMAGE.len() - 1], true), (&[], false)] {
        let mut spi = [started(), begun(), length(buffered.len())].to_vec();
        spi.extend(begins.then(|| read(0x3c, buffered)));
        let mut bench = Bench::new(&spi, &sensor_is_set_up());
        assert_eq!(bench.next().0, Step::Ready);
        bench.camera.capture(bench.now_us).unwrap();
        let first = bench.next().0;
        let failed = if begins { bench.next().0 } else { first };
        assert_eq!(failed, Step::Failed(Fault::NoImage), "{} bytes", buffered.len());
        bench.done();
    }
}

#[test]
fn a_new_size_is_set_before_the_next_image() {
    let mut other = set_up();
    let quality = other.iter().position(|said| *said == Said::write(0x30, [0x44, 15].to_vec()));
    other[quality.expect("quality 80 is 15 for the sensor")] = Said::write(0x30, [0x44, 62].to_vec());
    let mut bench = Bench::new(&[started()], &[sensor_is_set_up(), other].concat());
    assert_eq!(bench.next().0, Step::Ready);
    bench.camera.configure(320, 240, 80);
    assert_eq!(bench.next().0, Step::Ready, "nothing has changed");
    bench.camera.configure(320, 240, 1);
    assert_eq!(bench.next().0, Step::Ready);
    bench.done();
}
