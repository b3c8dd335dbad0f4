// An ArduCAM Mini 2MP: the sensor's registers behind I2C, the buffering chip's behind SPI, and images that
// differ from each other. What each image was is told, so that a test can compare what arrives.

import { createHash } from 'node:crypto';

const ADDRESS = 0x30;
const PRODUCT = 0x26;
const CAPTURE = 130e6; // ns, at 7.5 images a second
const BURST = 0x3c;
const PADDING = 37; // what the buffer holds behind an image

export class Camera {
  constructor({ tell }) {
    this.tell = tell;
    /** `ok`, `absent`, `hangs`: never ends an image, `garbage`: sends what is none. */
    this.mood = 'ok';
    this.taken = 0;
  }

  /** The board has power: everything begins again. */
  powered(clock) {
    this.registers = [new Uint8Array(256), new Uint8Array(256)];
    this.bank = 0;
    this.pointer = undefined;
    this.chip = new Uint8Array(128);
    this.selected = false;
    this.command = undefined;
    this.fifo = Buffer.alloc(0);
    this.at = 0;
    this.done = false;
    this.capture = clock.createAlarm(() => this.finish());
  }

  // I2C

  address(address) {
    this.pointer = undefined;
    return this.mood !== 'absent' && address === ADDRESS;
  }

  write(byte) {
    if (this.pointer === undefined) this.pointer = byte;
    else if (this.pointer === 0xff) this.bank = byte & 1;
    else this.registers[this.bank][this.pointer] = byte;
    this.last = this.pointer;
    return true;
  }

  read() {
    return this.bank === 1 && this.last === 0x0a ? PRODUCT : this.registers[this.bank][this.last];
  }

  /** The size that the sensor was told, from the registers of its zoom. */
  size() {
    const dsp = this.registers[0];
    return [dsp[0x5a] | ((dsp[0x5c] & 3) << 8), dsp[0x5b] | ((dsp[0x5c] & 4) << 6)].map((n) => n * 4);
  }

  // SPI

  select(selected) {
    this.selected = selected;
    this.command = undefined;
  }

  exchange(byte) {
    if (!this.selected || this.mood === 'absent') return 0xff;
    if (this.command === undefined) {
      this.command = byte;
      return 0;
    }
    if (this.command === BURST) return this.fifo[this.at++] ?? 0;
    const register = this.command & 0x7f;
    if (this.command & 0x80) this.set(register, byte);
    return this.get(register);
  }

  set(register, value) {
    this.chip[register] = value;
    if (register !== 0x04) return;
    if (value & 0x01) this.done = false;
    if (value & 0x20) this.at = 0;
    if (value & 0x02 && this.mood !== 'hangs') this.capture.schedule(CAPTURE);
  }

  get(register) {
    if (register === 0x41) return this.done ? 0x08 : 0;
    if (register >= 0x42 && register <= 0x44) return (this.fifo.length >> (8 * (register - 0x42))) & 0xff;
    return this.chip[register];
  }

  finish() {
    this.capture.scheduled = false;
    if (this.mood === 'hangs') return;
    const number = this.taken++;
    const image = this.mood === 'garbage' ? Buffer.alloc(900, 0x5a) : jpeg(number, this.size());
    // Behind the image stands the end of the one before.
    this.fifo = Buffer.concat([image, Buffer.alloc(PADDING, 0xff), Buffer.of(0xff, 0xd9)]);
    this.at = 0;
    this.done = true;
    const sha256 = createHash('sha256').update(image).digest('hex');
    const [width, height] = this.size();
    this.tell({ event: 'image', mood: this.mood, sha256, bytes: image.length, width, height });
  }
}

/** An image of so many pixels as far as its markers go; its compressed data are noise that a number seeds. */
function jpeg(number, [width, height]) {
  let seed = (number + 1) * 2654435761;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) >>> 24;
  const scan = [];
  for (let i = 0; i < (width * height) / 10; i++) {
    const byte = random();
    scan.push(byte);
    if (byte === 0xff) scan.push(0x00);
  }
  const words = (...numbers) => numbers.flatMap((n) => [n >> 8, n & 0xff]);
  return Buffer.from([
    0xff, 0xd8,
    0xff, 0xe0, ...words(16), ...Buffer.from('JFIF\0'), 1, 1, 0, ...words(1, 1), 0, 0,
    0xff, 0xc0, ...words(11), 8, ...words(height, width), 1, 1, 0x11, 0,
    0xff, 0xda, ...words(8), 1, 1, 0, 0, 63, 0,
    ...scan,
    0xff, 0xd9,
  ]);
}
