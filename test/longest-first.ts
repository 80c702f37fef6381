import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Each takes more than half a minute (in `unit`: ten seconds) on two cores, the longest first. */
const LONG = [
  'test/e2e/edge.test.ts',
  'test/conformance/real-images.test.ts',
  'test/e2e/build-fleet.test.ts',
  'test/e2e/faults.test.ts',
  'test/conformance/pull-through.test.ts',
  'test/e2e/api.test.ts',
  'test/conformance/dockerfile.test.ts',
  'test/e2e/attestations.test.ts',
  'test/e2e/radosgw.test.ts',
  'worker/snapshot/crash.kernel.test.ts',
  'worker/snapshot/tree-snapshotter.kernel.test.ts',
  'worker/snapshot/power-cut.kernel.test.ts',
  'worker/snapshot/erofs-overlay.kernel.test.ts',
  'worker/snapshot/zfs-trees.kernel.test.ts',
  'worker/execute/run-container.kernel.test.ts',
  'control-plane/registry/faults.test.ts',
  'shared/ports/message-bus.test.ts',
  'control-plane/registry/garbage-race.test.ts',
]

/** Begins with the long files: one that began last would run alone while others could. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = LONG.findIndex(path => moduleId.endsWith(`/${path}`))
      return at === -1 ? LONG.length : at
    }
    const order = (file: TestSpecification) => file.project.config.sequence.groupOrder
    return (await super.sort(files)).toSorted((a, b) => order(a) - order(b) || rank(a) - rank(b))
  }
}
