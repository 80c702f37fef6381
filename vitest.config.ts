import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { LongestFirst } from './test/longest-first.ts'

/** Files of a stage that run at once, on every machine: most of what they do is waiting for each other's processes, and for time. */
const FILES_AT_ONCE = 2

/**
 * Three projects, one after the other: `unit` needs nothing but Node, `kernel` needs root, `e2e` boots a whole Slipway. Files of the
 * latter two share a machine: each has instances, networks and folders of its own names.
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{shared,control-plane,worker,infra,test}/**/*.test.ts'],
          exclude: ['**/*.kernel.test.ts', 'test/{e2e,conformance}/**', '**/node_modules/**'],
          maxWorkers: '100%',
        },
      },
      {
        test: {
          name: 'kernel',
          include: ['{worker,control-plane}/**/*.kernel.test.ts'],
          maxWorkers: FILES_AT_ONCE,
          sequence: { groupOrder: 1 },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/{e2e,conformance}/**/*.test.ts'],
          maxWorkers: FILES_AT_ONCE,
          sequence: { groupOrder: 2 },
          // Nothing of a test leaves this machine: an image that is not here is nowhere.
          env: { SLIPWAY_UPSTREAMS_FILE: join(import.meta.dirname, 'test/support/no-upstreams.json') },
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
})
