/**
 * What each client had in each round: weight, votes, reputation, whatever a rule reports. Kept sparsely, since of ten
 * thousand clients a hundred may take part in a round.
 */

import type { IRoundsPage, ISimulatedClient } from '../tokens';

/** The clients of one round, and their numbers. */
export interface IRoundColumns {
  number: number;
  /** Positions in {@link Quantities.clients}. */
  clients: Int32Array;
  /** A value for each of them, NaN where there is none. */
  columns: Map<string, Float64Array>;
}

/** The least and the greatest value of a quantity. */
export interface IExtent {
  least: number;
  greatest: number;
}

export class Quantities {
  constructor(readonly clients: readonly ISimulatedClient[]) {
    this._positions = new Map(clients.map((client, position) => [String(client.id), position]));
  }

  /** Rounds in order. */
  get rounds(): readonly IRoundColumns[] {
    return this._rounds;
  }

  /** Names of the quantities, those that the rule reports before those that every round has. */
  get names(): string[] {
    const common = ['weight', 'examples'];
    const own = [...this._extents.keys()].filter(name => !common.includes(name));
    return [...own, ...common.filter(name => this._extents.has(name))];
  }

  /** Add rounds that follow those that are here; clients that the simulation does not name are left out. */
  add(page: IRoundsPage): void {
    const positions = page.nodes.map(node => this._positions.get(node) ?? -1);
    for (const { number, clients } of page.rounds) {
      const places = clients.node
        .map((_, place) => place)
        .filter(place => positions[clients.node[place]] >= 0);
      const columns = new Map<string, Float64Array>();
      for (const [name, values] of Object.entries(clients.columns)) {
        const column = Float64Array.from(places, place => values[place] ?? NaN);
        columns.set(name, column);
        this._widen(name, column);
      }
      const round = {
        number,
        clients: Int32Array.from(places, place => positions[clients.node[place]]),
        columns
      };
      // A round that is made again, after a resumption, replaces what it was before.
      while (this._rounds.length > 0 && this._rounds[this._rounds.length - 1].number >= number) {
        this._rounds.pop();
      }
      this._rounds.push(round);
    }
  }

  /** Over all rounds; null if no client ever had the quantity. */
  extent(name: string): IExtent | null {
    return this._extents.get(name) ?? null;
  }

  /** The value of a client in the round at `index`; NaN when it has none, null when it was not in the round. */
  value(name: string, index: number, client: number): number | null {
    const round = this._rounds[index];
    const place = round?.clients.indexOf(client) ?? -1;
    return place < 0 ? null : (round.columns.get(name)?.[place] ?? NaN);
  }

  /** The mean of a quantity by client; NaN for those that never had it. */
  means(name: string): Float64Array {
    const sums = new Float64Array(this.clients.length);
    const counts = new Int32Array(this.clients.length);
    for (const { clients, columns } of this._rounds) {
      columns.get(name)?.forEach((value, place) => {
        if (!Number.isNaN(value)) {
          sums[clients[place]] += value;
          counts[clients[place]] += 1;
        }
      });
    }
    return sums.map((sum, client) => sum / counts[client]);
  }

  private _widen(name: string, column: Float64Array): void {
    for (const value of column) {
      const extent = this._extents.get(name);
      if (!Number.isFinite(value)) {
        continue;
      } else if (!extent) {
        this._extents.set(name, { least: value, greatest: value });
      } else {
        extent.least = Math.min(extent.least, value);
        extent.greatest = Math.max(extent.greatest, value);
      }
    }
  }

  private _positions: Map<string, number>;
  private _rounds: IRoundColumns[] = [];
  private _extents = new Map<string, IExtent>();
}

/** How the rows of the heat map are ordered. */
export type Order = 'attackers' | 'name' | 'mean';

/**
 * Clients from top to bottom, as positions.
 *
 * @param quantity What the order by mean goes by, greatest first.
 */
export function ordered(quantities: Quantities, order: Order, quantity: string): Int32Array {
  const { clients } = quantities;
  const positions = Int32Array.from(clients, (_, position) => position);
  if (order === 'mean') {
    const means = quantities.means(quantity).map(mean => (Number.isNaN(mean) ? -Infinity : mean));
    return positions.sort((a, b) => (means[a] === means[b] ? a - b : means[b] - means[a]));
  }
  if (order === 'attackers') {
    return positions.sort((a, b) => Number(clients[b].attacker) - Number(clients[a].attacker) || a - b);
  }
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  return positions.sort((a, b) => compare(clients[a].name, clients[b].name) || a - b);
}
