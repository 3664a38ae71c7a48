/** Simulations, their rounds and a catalogue, as the server half tells them. */

import type { ICatalogue, IRoundsPage, ISimulatedRound, ISimulation, ISimulationHeader } from '../tokens';

export function simulation(id: string, changes: Partial<ISimulation> = {}): ISimulation {
  return {
    id,
    name: `simulation ${id}`,
    created: '2026-01-01T00:00:00Z',
    updated: '2026-01-01T00:00:00Z',
    state: 'running',
    stopping: false,
    rounds: 20,
    round: 2,
    aggregation: 'krum',
    aggregation_options: { byzantine: 1, other: null },
    attack: { name: 'label_flip', options: { fraction: 0.25 } },
    privacy: null,
    partition: 'iid',
    backend: 'jax',
    error: null,
    client_count: 4,
    attacker_count: 1,
    ...changes
  };
}

export function header(id: string, changes: Partial<ISimulation> = {}): ISimulationHeader {
  const clients = ['a', 'b', 'c', 'd'].map(id => ({
    id,
    name: `client-${id}`,
    rows: 10,
    attacker: id === 'c'
  }));
  return { ...simulation(id, changes), clients };
}

/** A round in which the first, second and third node of the page were, the third without votes. */
export function simulatedRound(number: number): ISimulatedRound {
  return {
    number,
    metrics: { loss: 1 / number, val_attack_success_rate: 0.5, mae: null },
    epsilon: number / 10,
    clients: { node: [0, 1, 2], columns: { weight: [0.5, 0.3, 0.2], votes: [number, -2, null] } }
  };
}

export function page(numbers: number[], changes: Partial<IRoundsPage> = {}): IRoundsPage {
  const after = Math.max(0, ...numbers);
  return {
    nodes: ['b', 'a', 'c'],
    rounds: numbers.map(simulatedRound),
    after,
    total: after,
    journal: 'j1',
    simulation: simulation('s1'),
    ...changes
  };
}

export const CATALOGUE: ICatalogue = {
  aggregation: [
    {
      name: 'fedavg',
      summary: 'The mean.',
      defends: 'Nothing.',
      limits: 'Everything.',
      needs: 'sum',
      options: [],
      secure_aggregation: { supported: true, reason: 'it needs the sum' }
    },
    {
      name: 'krum',
      summary: 'The nearest one.',
      defends: 'Few attackers.',
      limits: 'Slow.',
      needs: 'updates',
      options: [
        { name: 'byzantine', default: null, help: 'How many.' },
        { name: 'variant', default: 'paper' }
      ],
      secure_aggregation: { supported: false, reason: 'it must see each update' }
    }
  ],
  attacks: [
    {
      name: 'label_flip',
      class: 'LabelFlip',
      summary: 'Flips labels.',
      knowledge: 'own data',
      options: [
        { name: 'fraction', default: 0.3 },
        { name: 'target', required: true }
      ]
    }
  ]
};
