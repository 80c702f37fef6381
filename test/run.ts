import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { z } from 'zod'

/**
 * `npm test`: format and lint, types, then the three vitest projects. Ends with what failed and `N passed, N failed`, and
 * exits with 1 when anything failed, or was skipped while CI is set. `npm test -- unit` runs one stage alone.
 */
interface Outcome {
  passed: number
  failed: number
  skipped: number
  /** What failed and how, told again at the end: of a long log often only the end is kept. */
  failures: readonly string[]
}

const reportSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string(),
      assertionResults: z.array(
        z.object({ fullName: z.string(), status: z.string(), failureMessages: z.array(z.string()).nullish() }),
      ),
    }),
  ),
})
type Report = z.infer<typeof reportSchema>
const shownOfFailure = 2_000

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
  return {
    passed: isGood ? 1 : 0,
    failed: isGood ? 0 : 1,
    skipped: 0,
    failures: isGood ? [] : [`${name} found faults`],
  }
}

function skip(name: string, reason: string): Outcome {
  console.log(`skipped: the ${name} tests, because ${reason}. Run npm test as root.`)
  return { passed: 0, failed: 0, skipped: 1, failures: [] }
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
    const failures = failuresOf(report)
    return {
      passed: report.numPassedTests,
      failed: report.numFailedTests + (isUnexplained ? 1 : 0),
      skipped: report.numPendingTests + report.numTodoTests,
      failures: isUnexplained && failures.length === 0 ? [`${name}: an error outside any test, in the log`] : failures,
    }
  } catch (error) {
    return { passed: 0, failed: 1, skipped: 0, failures: [`The ${name} tests left no report: ${error}`] }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function failuresOf(report: Report): string[] {
  return report.testResults.flatMap(file => {
    const failed = file.assertionResults.filter(test => test.status === 'failed')
    const told = failed.map(test => `${test.fullName}\n${test.failureMessages?.join('\n') ?? ''}`)
    if (file.status === 'failed' && told.length === 0) told.push(file.message)
    return told.map(text => `${relative(project, file.name)}: ${text}`.slice(0, shownOfFailure))
  })
}

const wanted = process.argv.slice(2)
const total = { passed: 0, failed: 0, skipped: 0, failures: [] as string[] }
for (const [name, stage] of Object.entries(stages)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  console.log(`\n── ${name}`)
  const begunAt = performance.now()
  const outcome = stage()
  console.log(`   ${name} took ${Math.round((performance.now() - begunAt) / 1000)} s`)
  total.passed += outcome.passed
  total.failed += outcome.failed
  total.skipped += outcome.skipped
  total.failures.push(...outcome.failures)
}

for (const failure of total.failures) console.log(`\nFAILED ${failure}`)
const isCi = Boolean(process.env.CI)
if (isCi && total.skipped > 0) console.log(`CI allows no skipped test, and ${total.skipped} were.`)
console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`)
process.exit(total.failed > 0 || (isCi && total.skipped > 0) ? 1 : 0)
