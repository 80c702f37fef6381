import type { ImageDefaults } from '#shared/domain/image.ts'
import { suggestion } from '#shared/nearest.ts'
import { nanoseconds } from './duration.ts'
import { flagOf } from './flags.ts'
import { type Instruction, jsonStrings } from './instruction.ts'
import { WordError } from './words.ts'

type HealthCheck = NonNullable<ImageDefaults['Healthcheck']>

/** What HEALTHCHECK puts into the configuration (Docker's image-spec 1.2, "Healthcheck"). Throws a WordError. Pure. */
export function healthCheck(instruction: Instruction, file: string): HealthCheck {
  const [, kind = '', command = ''] = /^(\S+)\s*(.*)$/s.exec(instruction.text) ?? []
  if (kind.toUpperCase() === 'NONE') {
    if (command !== '' || instruction.flags.length > 0)
      throw new WordError('HEALTHCHECK NONE takes nothing else', command)
    return { Test: ['NONE'] }
  }
  if (kind.toUpperCase() !== 'CMD') {
    const help = suggestion(kind.toUpperCase(), ['CMD', 'NONE']).replace(/\?$/, '') || ': write CMD command, or NONE'
    throw new WordError(`HEALTHCHECK has no kind ${kind}${help}`, kind)
  }
  const args = jsonStrings(command, { ...instruction, file })
  if (command === '' || args?.length === 0) throw new WordError('HEALTHCHECK CMD has no command behind it', kind)
  const timed = {
    Interval: durationOf(instruction, 'interval'),
    Timeout: durationOf(instruction, 'timeout'),
    StartPeriod: durationOf(instruction, 'start-period'),
    StartInterval: durationOf(instruction, 'start-interval'),
    Retries: retries(flagOf(instruction, 'retries')),
  }
  const given = Object.fromEntries(Object.entries(timed).filter(([, value]) => value > 0))
  return { Test: args ? ['CMD', ...args] : ['CMD-SHELL', command], ...given }
}

function durationOf(instruction: Instruction, name: string): number {
  const value = flagOf(instruction, name)
  return value === undefined ? 0 : nanoseconds(value, `--${name}`)
}

function retries(value: string | undefined): number {
  if (value === undefined) return 0
  if (/^\d{1,9}$/.test(value)) return Number(value)
  throw new WordError(`--retries takes a whole number from 0 on, not ${JSON.stringify(value)}`, value)
}
