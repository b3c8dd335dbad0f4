// A Pico with a receiver and a camera, as `cargo xtask firmware emulate` and the tests run it.
//
//   node pico.mjs --image pico.uf2 --pty PATH [--log FILE] [--hz N] [--baud N] [--seconds N] [--probe]
//
// The file that would be flashed runs in rp2040js at the speed of the clock on the wall. `--pty` makes the
// host's end of UART0 a pseudo-terminal; `--probe` instead measures the firmware's answers to pings, in
// the emulator's own time. On stdin come commands, a line each, that spoil what the board has around it
// (see `obey`); on stdout goes what happened, a JSON object a line. It ends with `stop`, after its
// seconds, or, where none are given, with its stdin.

import fs from 'node:fs';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Camera } from './camera.mjs';
import { Probe } from './probe.mjs';
import { Pico } from './board.mjs';
import { Receiver } from './receiver.mjs';
import { Wire } from './wire.mjs';

const { values: options } = parseArgs({
  options: {
    image: { type: 'string' },
    pty: { type: 'string' },
    log: { type: 'string' },
    hz: { type: 'string', default: '1' },
    baud: { type: 'string', default: '9600' },
    seconds: { type: 'string', default: 'Infinity' },
    probe: { type: 'boolean', default: false },
  },
});

const forever = options.seconds === 'Infinity';
const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n');
const image = fs.readFileSync(options.image);
const receiver = new Receiver({ log: options.log, hz: Number(options.hz), baud: Number(options.baud), tell });
const camera = new Camera({ tell });
const wires = { gps: new Wire(), toHost: new Wire(), fromHost: new Wire() };
const probe = options.probe ? new Probe() : undefined;

// The host's end of UART0.
let host;
if (options.pty) {
  const relay = fileURLToPath(new URL('./pty.py', import.meta.url));
  host = spawn('python3', [relay, options.pty], { stdio: ['pipe', 'pipe', 'inherit'] });
  host.on('exit', () => process.exit(1));
}
const toHost = (bytes) => {
  const arrive = wires.toHost.pass(bytes);
  if (arrive.length) probe ? probe.hear(arrive, board.nanos) : host?.stdin.write(arrive);
};

let board;
const start = () => {
  board = new Pico({ image, camera, toHost, onWatchdog: () => (resetAsked = 'watchdog') });
  tell({ event: 'start' });
};
let resetAsked;
start();
host?.stdout.on('data', (bytes) => board.hear(0, wires.fromHost.pass(bytes)));

/** What the tests do to the board and to what is around it. */
function obey(line) {
  const [what, how, value] = line.trim().split(/\s+/);
  if (what === 'reset') resetAsked = 'command';
  else if (what === 'camera') camera.mood = how; // ok, absent, hangs, garbage
  else if (what === 'receiver') receiver.set(how, value); // baud N, silent, speaks
  else if (what in wires) wires[what].fault = how; // ok, cut, noise, drops
  else if (what === 'stop') end();
  else throw new Error(`unknown command: ${line}`);
}
createInterface({ input: process.stdin }).on('line', obey).on('close', () => forever && end());


function end() {
  tell({ event: 'end', overruns: board.overruns(), clock: probe?.result() });
  host?.stdin.end();
  process.exit(0);
}

// One turn: as much of the board's time as has passed on the wall, in slices in which its surroundings act.
const SLICE = 500_000; // ns
const began = process.hrtime.bigint();
let lived = 0; // ns, over all starts
function turn() {
  const wall = probe ? lived + 20_000_000 : Number(process.hrtime.bigint() - began);
  const until = Math.min(wall, lived + 20_000_000);
  while (lived < until) {
    if (resetAsked) {
      tell({ event: 'reset', by: resetAsked });
      resetAsked = undefined;
      start();
    }
    for (const bytes of receiver.speak(lived, board.isIdle(1))) board.hear(1, wires.gps.pass(bytes), receiver.baud);
    if (probe) board.hear(0, probe.ask(board.nanos));
    board.run(SLICE);
    lived += SLICE;
  }
  if (lived >= Number(options.seconds) * 1e9) end();
  wall - lived > 1_000_000 ? setImmediate(turn) : setTimeout(turn, 1);
}
turn();
