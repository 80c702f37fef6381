import type { LifeSpec } from '#shared/domain/container-life.ts'
import { formatDuration } from '#shared/domain/duration.ts'
import type { HealthCheck, HealthProbe } from '#shared/domain/health.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { HealthCheckOption } from '#shared/protocol/container-life.ts'
import type { CreateContainer } from '#shared/protocol/containers.ts'

type Asked = Pick<
  CreateContainer,
  'stopSignal' | 'stopTimeout' | 'init' | 'autoRemove' | 'healthCheck' | 'restart' | 'keepFor'
>

/** What was asked for of a container's life, but for what it depends on. Errors: `request.invalid`. Pure. */
export function lifeSpec(asked: Asked): Omit<LifeSpec, 'dependsOn'> {
  const { stopSignal, stopTimeout, init, autoRemove, healthCheck } = asked
  if (autoRemove) refuseClashes(asked)
  return {
    stopSignal,
    stopTimeoutMs: stopTimeout === undefined ? undefined : Math.round(stopTimeout * 1000),
    hasInit: init || undefined,
    isAutoRemoved: autoRemove || undefined,
    healthCheck: healthCheck === undefined ? undefined : readHealthCheck(healthCheck),
  }
}

/** The other way round: what would be asked for to have it so. Pure. */
export function lifeOptionsOf({ stopSignal, stopTimeoutMs, hasInit, isAutoRemoved, healthCheck }: LifeSpec) {
  return {
    stopSignal,
    stopTimeout: stopTimeoutMs === undefined ? undefined : stopTimeoutMs / 1000,
    init: hasInit,
    autoRemove: isAutoRemoved,
    healthCheck: healthCheck === undefined ? undefined : formatHealthCheck(healthCheck),
  }
}

/** As Docker refuses it: what is to begin again must not be gone. */
function refuseClashes({ restart, keepFor }: Asked): void {
  if (restart !== undefined && restart !== 'no') {
    throw new SlipwayError('request.invalid', `autoRemove and restart ${restart} exclude each other: choose one.`)
  }
  if (keepFor !== undefined) {
    throw new SlipwayError('request.invalid', 'autoRemove and keepFor exclude each other: choose one.')
  }
}

function readHealthCheck(asked: HealthCheckOption): HealthCheck {
  if (asked === 'none' || asked.test?.[0] === 'NONE') return { kind: 'none' }
  const { interval, timeout, startPeriod, startInterval, retries } = asked
  return {
    kind: 'check',
    probe: probeOf(asked),
    intervalMs: timeMs(interval),
    timeoutMs: timeMs(timeout),
    startPeriodMs: timeMs(startPeriod),
    startIntervalMs: timeMs(startInterval),
    retries,
  }
}

function probeOf({ test, http, tcp }: Exclude<HealthCheckOption, 'none'>): HealthProbe | undefined {
  if (http) return { kind: 'http', port: http.port, path: http.path ?? '/', headers: http.headers ?? {} }
  if (tcp) return { kind: 'tcp', port: tcp.port }
  if (!test) return undefined
  const [kind, ...words] = test
  if (kind === 'CMD' && words.length > 0) return { kind: 'command', args: words }
  const [line] = words
  if (kind === 'CMD-SHELL' && line && words.length === 1) return { kind: 'shell', line }
  const form = 'a test is ["CMD", program, …], ["CMD-SHELL", line] or ["NONE"].'
  throw new SlipwayError('request.invalid', `The test ${JSON.stringify(test)} of the health check is no test: ${form}`)
}

function formatHealthCheck(check: HealthCheck): HealthCheckOption {
  if (check.kind === 'none') return 'none'
  const { probe, intervalMs, timeoutMs, startPeriodMs, startIntervalMs, retries } = check
  const times = {
    interval: formatTime(intervalMs),
    timeout: formatTime(timeoutMs),
    startPeriod: formatTime(startPeriodMs),
    startInterval: formatTime(startIntervalMs),
  }
  return { ...formatProbe(probe), ...times, retries }
}

function formatProbe(probe: HealthProbe | undefined) {
  switch (probe?.kind) {
    case 'command':
      return { test: ['CMD', ...probe.args] }
    case 'shell':
      return { test: ['CMD-SHELL', probe.line] }
    case 'http':
      return { http: { port: probe.port, path: probe.path, headers: probe.headers } }
    case 'tcp':
      return { tcp: { port: probe.port } }
    case undefined:
      return {}
  }
}

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function timeMs(text: string | undefined): number | undefined {
  const [, count, unit = ''] = /^(\d+)(\w+)$/.exec(text ?? '') ?? []
  return count === undefined ? undefined : Number(count) * (UNITS_MS[unit] ?? 0)
}

function formatTime(ms: number | undefined): string | undefined {
  if (ms === undefined) return undefined
  return ms % 1000 === 0 ? formatDuration(ms) : `${ms}ms`
}
