// The RP2040 on a Pico: rp2040js with the file that would be flashed, UARTs that are paced like real ones,
// and the camera on I2C0 and SPI0.
//
// rp2040js has no boot ROM: what it does is done here, up to the jump into the program.

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Uart } from './uart.mjs';

// The packages stand in a folder of the cache.
const packages = process.env.MILEPOST_EMULATOR ?? fileURLToPath(new URL('.', import.meta.url));
const { Simulator } = createRequire(`${packages}/package.json`)('rp2040js');

const FLASH = 0x10000000;
const VECTORS = 0x10000100; // behind the second-stage boot loader
const CYCLE = 8; // ns, at 125 MHz
const HOST_BAUD = 921600;
const CS = 17;
const ROSC = 0x40060;
const ROSC_RANDOMBIT = 0x1c;

export class Pico {
  constructor({ image, camera, toHost, onWatchdog }) {
    this.simulator = new Simulator();
    const mcu = (this.mcu = this.simulator.rp2040);
    mcu.logger = { debug() {}, info() {}, warn() {}, error: (where, what) => console.error(where, what) };
    load(image, mcu.flash);
    mcu.core.VTOR = VECTORS;
    const view = new DataView(mcu.flash.buffer, mcu.flash.byteOffset);
    mcu.core.SP = view.getUint32(VECTORS - FLASH, true);
    mcu.core.PC = view.getUint32(VECTORS - FLASH + 4, true) & ~1;
    mcu.peripherals[0x40058].onWatchdogTrigger = onWatchdog;
    // The ring oscillator's bit is random on the chip, and nothing here.
    mcu.peripherals[ROSC].readUint32 = (at) => (at === ROSC_RANDOMBIT ? Math.round(Math.random()) : 0);
    this.uarts = [0, 1].map((n) => new Uart(mcu, n, this.simulator.clock));
    this.uarts[0].onByte = (byte) => toHost(Buffer.of(byte));
    wire(mcu, camera, this.simulator.clock);
  }

  /** The board's time. */
  get nanos() {
    return this.simulator.clock.nanos;
  }

  /** Bytes arrive at a UART, sent at a speed. */
  hear(uart, bytes, baud = HOST_BAUD) {
    this.uarts[uart].send(bytes, baud);
  }

  /** Whether nothing is on its way to a UART. */
  isIdle(uart) {
    return this.uarts[uart].line.length === 0;
  }

  /** Bytes that the UARTs had no room for. */
  overruns() {
    return this.uarts.map((uart) => uart.overruns);
  }

  run(nanos) {
    const { core } = this.mcu;
    const { clock } = this.simulator;
    const until = clock.nanos + nanos;
    while (clock.nanos < until) {
      if (core.waiting) clock.tick(Math.max(1, Math.min(clock.nanosToNextAlarm || nanos, until - clock.nanos)));
      else clock.tick(core.executeInstruction() * CYCLE);
    }
  }
}

/** Puts a UF2 file into flash, as the boot loader does. */
function load(uf2, flash) {
  for (let at = 0; at < uf2.length; at += 512) {
    const [address, size] = [uf2.readUInt32LE(at + 12), uf2.readUInt32LE(at + 16)];
    flash.set(uf2.subarray(at + 32, at + 32 + size), address - FLASH);
  }
}

/** Solders the camera to the board. */
function wire(mcu, camera, clock) {
  camera.powered(clock);
  mcu.gpio[CS].addListener((state) => camera.select(state === 0));
  mcu.spi[0].onTransmit = (byte) => mcu.spi[0].completeTransmit(camera.exchange(byte));
  const i2c = mcu.i2c[0];
  i2c.onStart = () => i2c.completeStart();
  i2c.onStop = () => i2c.completeStop();
  i2c.onConnect = (address) => i2c.completeConnect(camera.address(address));
  i2c.onWriteByte = (byte) => i2c.completeWrite(camera.write(byte));
  i2c.onReadByte = () => i2c.completeRead(camera.read());
}
