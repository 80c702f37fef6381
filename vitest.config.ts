import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

/** Three projects: `unit` needs nothing but Node, `kernel` needs root and runs one file at a time, `e2e` boots a whole Slipway. */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{shared,control-plane,worker,infra,test}/**/*.test.ts'],
          exclude: ['**/*.kernel.test.ts', 'test/{e2e,conformance}/**', '**/node_modules/**'],
        },
      },
      {
        test: {
          name: 'kernel',
          include: ['{worker,control-plane}/**/*.kernel.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/{e2e,conformance}/**/*.test.ts'],
          fileParallelism: false,
          // Nothing of a test leaves this machine: an image that is not here is nowhere.
          env: { SLIPWAY_UPSTREAMS_FILE: join(import.meta.dirname, 'test/support/no-upstreams.json') },
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
})
