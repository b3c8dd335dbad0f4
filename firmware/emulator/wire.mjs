// A wire that can be spoiled.

export class Wire {
  /** `ok`, `cut`, `noise`: some bytes change, `drops`: some get lost. */
  fault = 'ok';

  /** What of these bytes arrives. */
  pass(bytes) {
    if (this.fault === 'ok') return bytes;
    if (this.fault === 'cut') return Buffer.alloc(0);
    const out = [];
    for (const byte of bytes) {
      const hit = Math.random() < 0.003;
      if (!hit) out.push(byte);
      else if (this.fault === 'noise') out.push(byte ^ (1 << Math.floor(Math.random() * 8)));
    }
    return Buffer.from(out);
  }
}
