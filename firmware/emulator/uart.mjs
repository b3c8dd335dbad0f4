// A PL011 in the place of rp2040js' own UART, which interrupts at every byte and sends in no time: FIFOs
// with levels, the interrupt of a receive timeout, a transmitter that takes as long as a line does, and
// what a receiver makes of bytes that were sent at another speed.
//
// Registers and bits by the names of ARM's "PrimeCell UART (PL011) technical reference manual".

const DR = 0x00, FR = 0x18, CR = 0x30, IFLS = 0x34, IMSC = 0x38, RIS = 0x3c, MIS = 0x40, ICR = 0x44, DMACR = 0x48;
const RXIM = 1 << 4, TXIM = 1 << 5, RTIM = 1 << 6, OEIM = 1 << 10;
const FR_BUSY = 1 << 3, FR_RXFE = 1 << 4, FR_TXFF = 1 << 5, FR_RXFF = 1 << 6, FR_TXFE = 1 << 7;
const FRAMING_ERROR = 1 << 8;
const LEVELS = [4, 8, 16, 24, 28];
/** How far two speeds may differ. */
const TOLERANCE = 0.03;

export class Uart {
  /** Takes the place of UART `n`. */
  constructor(mcu, n, clock) {
    this.mcu = mcu;
    this.old = mcu.uart[n];
    this.rx = [];
    this.tx = [];
    this.sending = undefined;
    this.ris = 0;
    this.ifls = 0x12;
    this.dmacr = 0;
    this.overruns = 0;
    this.onByte = undefined;
    /** Bytes on their way to the chip. */
    this.line = [];
    this.timeout = clock.createAlarm(() => this.rx.length && this.raise(RTIM));
    this.sent = clock.createAlarm(() => this.finishByte());
    this.arrival = clock.createAlarm(() => this.arrive());
    const { readUint32, writeUint32 } = this.old;
    this.old.readUint32 = (at) => this.read(at, readUint32);
    this.old.writeUint32 = (at, value) => this.write(at, value, writeUint32);
    this.old.checkInterrupts = () => this.interrupt();
  }

  get bit() {
    return 1e9 / (this.old.baudRate || 115200);
  }

  get depth() {
    return this.old.fifosEnabled ? 32 : 1;
  }

  level(shift) {
    return this.old.fifosEnabled ? LEVELS[(this.ifls >> shift) & 7] : 1;
  }

  raise(bits) {
    this.ris |= bits;
    this.interrupt();
  }

  interrupt() {
    this.mcu.setInterrupt(this.old.irq, (this.ris & this.old.interruptMask) !== 0);
  }

  /** Somebody sends bytes to the chip. */
  send(bytes, baud) {
    for (const byte of bytes) this.line.push([byte, baud]);
    if (this.line.length && !this.arrival.scheduled) this.arrival.schedule(1e10 / baud);
  }

  arrive() {
    this.arrival.scheduled = false;
    const [byte, baud] = this.line.shift();
    if (this.line.length) this.arrival.schedule(1e10 / this.line[0][1]);
    if (!this.old.enabled) return;
    const off = Math.abs(this.old.baudRate / baud - 1) > TOLERANCE;
    const value = off ? Math.floor(Math.random() * 256) | (Math.random() < 0.5 ? FRAMING_ERROR : 0) : byte;
    if (this.rx.length >= this.depth) {
      this.overruns += 1;
      this.ris |= OEIM;
    } else this.rx.push(value);
    if (this.rx.length >= this.level(3)) this.ris |= RXIM;
    this.timeout.schedule(32 * this.bit);
    this.interrupt();
  }

  startByte() {
    if (this.sending !== undefined || !this.tx.length || !this.old.enabled) return;
    this.sending = this.tx.shift();
    this.sent.schedule(10 * this.bit);
    const level = this.old.fifosEnabled ? LEVELS[this.ifls & 7] : 0;
    // An edge: only the byte that brings the FIFO to its level raises it.
    if (this.tx.length === level) this.raise(TXIM);
  }

  finishByte() {
    this.sent.scheduled = false;
    const byte = this.sending;
    this.sending = undefined;
    this.startByte();
    this.onByte?.(byte);
  }

  read(at, otherwise) {
    switch (at) {
      case DR: {
        const value = this.rx.shift() ?? 0;
        if (this.rx.length < this.level(3)) this.ris &= ~RXIM;
        if (!this.rx.length) this.ris &= ~RTIM;
        this.interrupt();
        return value;
      }
      case FR:
        return (
          (this.tx.length ? 0 : FR_TXFE) |
          (this.tx.length >= this.depth ? FR_TXFF : 0) |
          (this.tx.length || this.sending !== undefined ? FR_BUSY : 0) |
          (this.rx.length ? 0 : FR_RXFE) |
          (this.rx.length >= this.depth ? FR_RXFF : 0)
        );
      case IFLS:
        return this.ifls;
      case RIS:
        return this.ris;
      case MIS:
        return this.ris & this.old.interruptMask;
      case DMACR:
        return this.dmacr;
      default:
        return otherwise.call(this.old, at);
    }
  }

  write(at, value, otherwise) {
    switch (at) {
      case DR:
        if (this.tx.length < this.depth) this.tx.push(value & 0xff);
        return this.startByte();
      case IFLS:
        this.ifls = value & 0x3f;
        return;
      case IMSC:
        this.old.interruptMask = value & 0x7ff;
        return this.interrupt();
      case ICR:
        this.ris &= ~this.old.rawWriteValue;
        return this.interrupt();
      case DMACR:
        // Kept for who asks; DMA itself is not made here.
        this.dmacr = value & 7;
        return;
      case CR:
        otherwise.call(this.old, at, value);
        return this.startByte();
      default:
        otherwise.call(this.old, at, value);
    }
  }
}
