// A GPS receiver that plays a log, an epoch at a time, or drives a circle of its own. The log's pace is not
// in the log: an epoch is what shares a time of day, and comes at the rate that is asked for.

import fs from 'node:fs';

export class Receiver {
  constructor({ log, hz, baud, tell }) {
    this.epochs = log ? epochsOf(fs.readFileSync(log)) : undefined;
    this.period = 1e9 / hz;
    this.hz = hz;
    this.baud = baud;
    this.tell = tell;
    this.silent = false;
    this.number = 0;
  }

  set(how, value) {
    if (how === 'baud') this.baud = Number(value);
    else this.silent = how === 'silent';
  }

  /** What it says at a moment. A log's epochs may be longer than its line takes: `idle` says that the last
   * one has gone. */
  *speak(nanos, idle) {
    while (nanos >= this.number * this.period + 500e6 && (idle || !this.epochs)) {
      idle = false;
      const number = this.number++;
      if (this.silent) continue;
      if (!this.epochs) yield this.drive(number);
      else if (number < this.epochs.length) yield this.epochs[number];
      else if (number === this.epochs.length) this.tell({ event: 'log ends' });
    }
  }

  /** A circle of 200 m around a point of the Thames, 20 m/s. */
  drive(number) {
    const angle = (number / this.hz) * 0.1;
    const [lat, lon] = [51.5 + 0.0018 * Math.cos(angle), 0.01 + 0.0029 * Math.sin(angle)];
    const time = timeOfDay(number / this.hz);
    const course = (((angle * 180) / Math.PI + 90) % 360).toFixed(1);
    this.tell({ event: 'epoch', number, time });
    const place = `${degrees(lat, 2)},N,${degrees(lon, 3)},E`;
    return Buffer.from(
      sentence(`GNRMC,${time},A,${place},38.88,${course},281126,,,A`) +
        sentence(`GNGGA,${time},${place},1,09,0.9,12.3,M,47.0,M,,`),
    );
  }
}

function timeOfDay(seconds) {
  const whole = 36000 + Math.floor(seconds);
  const pad = (n) => String(n).padStart(2, '0');
  const hundredths = pad(Math.round((seconds % 1) * 100));
  return `${pad(Math.floor(whole / 3600))}${pad(Math.floor(whole / 60) % 60)}${pad(whole % 60)}.${hundredths}`;
}

function degrees(value, digits) {
  const whole = Math.floor(value);
  return String(whole).padStart(digits, '0') + ((value - whole) * 60).toFixed(5).padStart(8, '0');
}

function sentence(body) {
  const sum = [...Buffer.from(body)].reduce((sum, byte) => sum ^ byte, 0);
  return `$${body}*${sum.toString(16).toUpperCase().padStart(2, '0')}\r\n`;
}

/** Cuts a log where the time of day changes. */
function epochsOf(log) {
  const epochs = [[]];
  let time;
  for (const line of log.toString('latin1').split(/(?<=\n)/)) {
    const fields = line.split(',');
    const at = { RMC: 1, GGA: 1, GNS: 1, GLL: 5 }[fields[0].slice(-3)];
    if (at !== undefined && fields[at] && fields[at] !== time) {
      time = fields[at];
      epochs.push([]);
    }
    if (!line.startsWith('#')) epochs.at(-1).push(line);
  }
  return epochs.map((lines) => Buffer.from(lines.join(''), 'latin1'));
}
