// An agent that asks for the board's time, in the emulator's own: how far the board's clock, as the answers
// give it, is from the truth. The timer of the chip begins at 0 with the emulator's clock, so the truth of
// an answer is the emulator's time in the middle between question and answer.

const CRC32C = Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0x82f63b78 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});
const crc = (bytes) => ~bytes.reduce((c, byte) => CRC32C[(c ^ byte) & 0xff] ^ (c >>> 8), ~0) >>> 0;

// Variants of the link's messages.
const PING = 6, PONG = 7;
const PERIOD = 170e6; // ns

export class Probe {
  sequence = 0;
  next = 1e9;
  line = [];
  /** How far each answer is off, and how long it took, µs. */
  answers = [];

  /** A question, when it is time for one. */
  ask(nanos) {
    if (nanos < this.next) return [];
    this.next += PERIOD;
    const packet = [...varint(this.sequence++), PING, ...varint(Math.round(nanos / 1000))];
    const sum = crc(packet);
    return stuff([...packet, sum & 0xff, (sum >> 8) & 0xff, (sum >> 16) & 0xff, sum >>> 24]);
  }

  hear(bytes, nanos) {
    for (const byte of bytes) {
      if (byte) this.line.push(byte);
      else {
        this.packet(unstuff(this.line), nanos / 1000);
        this.line = [];
      }
    }
  }

  packet(bytes, now) {
    if (bytes.length < 5 || crc(bytes.slice(0, -4)) !== Buffer.from(bytes.slice(-4)).readUInt32LE()) return;
    const numbers = varints(bytes.slice(0, -4));
    numbers.next();
    if (numbers.next().value !== PONG) return;
    const [asked, board] = [numbers.next().value, numbers.next().value];
    this.answers.push({ error: Math.abs((asked + now) / 2 - board), trip: now - asked });
  }

  result() {
    const most = (of) => Math.max(...this.answers.map(of));
    return { answers: this.answers.length, worst_us: most((a) => a.error), longest_us: most((a) => a.trip) };
  }
}

function varint(n) {
  const out = [];
  for (; n > 0x7f; n = Math.floor(n / 128)) out.push((n % 128) | 0x80);
  return [...out, n];
}

function* varints(bytes) {
  let [n, scale] = [0, 1];
  for (const byte of bytes) {
    n += (byte & 0x7f) * scale;
    if (byte & 0x80) scale *= 128;
    else {
      yield n;
      [n, scale] = [0, 1];
    }
  }
}

function stuff(bytes) {
  const [out, run] = [[], []];
  for (const byte of [...bytes, 0]) {
    if (byte) run.push(byte);
    else out.push(run.length + 1, ...run.splice(0));
  }
  return [...out, 0]; // a question is shorter than a run can be
}

function unstuff(line) {
  const out = [];
  for (let i = 0; i < line.length; ) {
    const end = i + line[i];
    const full = line[i] === 0xff;
    for (i++; i < end && i < line.length; i++) out.push(line[i]);
    if (!full && i < line.length) out.push(0);
  }
  return out;
}
