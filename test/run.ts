import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'

/**
 * `npm test`: format and lint, types, then the three vitest projects. Ends with `N passed, N failed`, and exits with 1
 * when anything failed, or was skipped while CI is set. `npm test -- unit` runs one stage alone.
 */
interface Outcome {
  passed: number
  failed: number
  skipped: number
}

const reportSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number(),
  numFailedTestSuites: z.number(),
})

const project = join(import.meta.dirname, '..')
const isRoot = process.getuid?.() === 0

const stages: Record<string, () => Outcome> = {
  lint: () => check('biome', ['ci', '--error-on-warnings', '.']),
  types: () => check('tsc', ['--noEmit']),
  unit: () => vitest('unit'),
  kernel: () => (isRoot ? vitest('kernel') : skip('kernel', 'mounts, namespaces and network rules need root')),
  e2e: () => (isRoot ? vitest('e2e') : skip('e2e', 'it boots a whole Slipway, which needs root')),
}

function program(name: string, args: readonly string[]): number {
  const result = spawnSync(join(project, 'node_modules/.bin', name), args, { cwd: project, stdio: 'inherit' })
  return result.status ?? 1
}

function check(name: string, args: readonly string[]): Outcome {
  const isGood = program(name, args) === 0
  return { passed: isGood ? 1 : 0, failed: isGood ? 0 : 1, skipped: 0 }
}

function skip(name: string, reason: string): Outcome {
  console.log(`skipped: the ${name} tests, because ${reason}. Run npm test as root.`)
  return { passed: 0, failed: 0, skipped: 1 }
}

function vitest(name: string): Outcome {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-test-'))
  const file = join(folder, 'report.json')
  try {
    const status = program('vitest', [
      ...['run', '--project', name, '--reporter=default', '--reporter=json', `--outputFile.json=${file}`],
    ])
    const report = reportSchema.parse(JSON.parse(readFileSync(file, 'utf8')))
    const isUnexplained = status !== 0 && report.numFailedTests === 0 // An error outside any test.
    return {
      passed: report.numPassedTests,
      failed: report.numFailedTests + (isUnexplained ? 1 : 0),
      skipped: report.numPendingTests + report.numTodoTests,
    }
  } catch (error) {
    console.error(`The ${name} tests left no report: ${error}`)
    return { passed: 0, failed: 1, skipped: 0 }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const wanted = process.argv.slice(2)
const total: Outcome = { passed: 0, failed: 0, skipped: 0 }
for (const [name, stage] of Object.entries(stages)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  console.log(`\n── ${name}`)
  const outcome = stage()
  total.passed += outcome.passed
  total.failed += outcome.failed
  total.skipped += outcome.skipped
}

const isCi = Boolean(process.env.CI)
if (isCi && total.skipped > 0) console.log(`CI allows no skipped test, and ${total.skipped} were.`)
console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`)
process.exit(total.failed > 0 || (isCi && total.skipped > 0) ? 1 : 0)
