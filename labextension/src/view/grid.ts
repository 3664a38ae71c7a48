/**
 * A heat map's cells: a client in a round each, or several of both where there are more than pixels to paint them.
 */

import type { Quantities } from '../model';

/** How many cells there are, and how many of them are painted as one. */
export interface IShape {
  /** Rounds and clients. */
  rounds: number;
  clients: number;
  /** Cells painted, across and down; not more than rounds and clients. */
  across: number;
  down: number;
}

/** Means of the values in each painted cell, row by row from the top; NaN where there is none. */
export function means(
  quantities: Quantities,
  quantity: string,
  order: Int32Array,
  shape: IShape
): Float64Array {
  const { rounds, clients, across, down } = shape;
  const rows = new Int32Array(clients);
  order.forEach((client, rank) => {
    rows[client] = Math.floor((rank * down) / clients);
  });
  const sums = new Float64Array(across * down);
  const counts = new Int32Array(across * down);
  quantities.rounds.forEach((round, index) => {
    const column = Math.floor((index * across) / rounds);
    round.columns.get(quantity)?.forEach((value, place) => {
      if (!Number.isNaN(value)) {
        const cell = rows[round.clients[place]] * across + column;
        sums[cell] += value;
        counts[cell] += 1;
      }
    });
  });
  return sums.map((sum, cell) => sum / counts[cell]);
}

/** What is painted as one: from the first index up to, not including, the last. */
export interface IRange {
  from: number;
  to: number;
}

/** The indices that are painted as the one at `index`, of `count` painted as `painted`. */
export function together(index: number, count: number, painted: number): IRange {
  const cell = Math.floor((index * painted) / count);
  return { from: Math.ceil((cell * count) / painted), to: Math.ceil(((cell + 1) * count) / painted) };
}

/** What a painted cell says. */
export interface ISummary {
  clients: IRange;
  rounds: IRange;
  attackers: number;
  /** Values in it, and their mean, least and greatest. */
  values: number;
  mean: number;
  least: number;
  greatest: number;
  /** Clients that were in a round, with a value or without. */
  present: number;
}

/** Look into the painted cell that the client of this rank is in at this round. */
export function summarised(
  quantities: Quantities,
  quantity: string,
  order: Int32Array,
  shape: IShape,
  round: number,
  rank: number
): ISummary {
  const clients = together(rank, shape.clients, shape.down);
  const rounds = together(round, shape.rounds, shape.across);
  let [values, present, sum, attackers] = [0, 0, 0, 0];
  let [least, greatest] = [Infinity, -Infinity];
  for (const client of order.subarray(clients.from, clients.to)) {
    attackers += quantities.clients[client].attacker ? 1 : 0;
    for (let index = rounds.from; index < Math.min(rounds.to, quantities.rounds.length); index++) {
      const value = quantities.value(quantity, index, client);
      present += value === null ? 0 : 1;
      if (value !== null && !Number.isNaN(value)) {
        values += 1;
        sum += value;
        least = Math.min(least, value);
        greatest = Math.max(greatest, value);
      }
    }
  }
  return { clients, rounds, attackers, values, mean: sum / values, least, greatest, present };
}

/** Steps between labels that are `room` apart at least when a unit takes `size`. */
export function labelStep(size: number, room: number): number {
  for (let power = 1; ; power *= 10) {
    for (const step of [power, 2 * power, 5 * power]) {
      if (step * size >= room) {
        return step;
      }
    }
  }
}
