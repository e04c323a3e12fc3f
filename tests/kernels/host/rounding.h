// Numbers that are rounded to one side, and halves, as a GPU's instructions make them. It comes after cuda.h.
#pragma once

// Of a sum s + rest that is exact, where rest is below half the unit of s: the float32 numbers beside it.
static float round_up(double s, double rest = 0)
{
    const float near = (float)s;
    return (double)near < s || ((double)near == s && rest > 0) ? std::nextafter(near, INFINITY) : near;
}
static float round_down(double s, double rest = 0) { return -round_up(-s, -rest); }
struct Exact { double sum, rest; };
static Exact exact_sum(double a, double b)  // Knuth's; of what is finite
{
    const double sum = a + b, second = sum - a;
    return {sum, std::isfinite(sum) ? (a - (sum - second)) + (b - second) : 0};
}
static float __double2float_ru(double x) { return round_up(x); }
static float __double2float_rd(double x) { return round_down(x); }
static float __fmul_ru(float a, float b) { return round_up((double)a * b); }
static float __fadd_ru(float a, float b) { return round_up(exact_sum(a, b).sum, exact_sum(a, b).rest); }
static float __fadd_rd(float a, float b) { return round_down(exact_sum(a, b).sum, exact_sum(a, b).rest); }
static Exact exact_product_and_sum(float a, float b, float c) { return exact_sum((double)a * b, c); }
static float __fmaf_ru(float a, float b, float c) { return round_up(exact_product_and_sum(a, b, c).sum, exact_product_and_sum(a, b, c).rest); }
static float __fmaf_rd(float a, float b, float c) { return round_down(exact_product_and_sum(a, b, c).sum, exact_product_and_sum(a, b, c).rest); }
static float __fsqrt_ru(float x)
{
    float root = std::sqrt(x);
    if ((double)root * root < x) root = std::nextafter(root, INFINITY);
    return root;
}
static int __float2int_rn(float x)
{
    return isnan(x) ? 0 : x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? INT32_MIN : (int)std::nearbyint(x);
}
// As far off as a GPU's may be.
static float inverse_about(float x) { return std::nextafter(1 / x, 0.f); }

static float from_half(unsigned short half)
{
    const int exponent = half >> 10 & 31, digits = half & 1023;
    const float size = exponent == 31 ? digits ? NAN : INFINITY : std::ldexp((float)(exponent ? 1024 + digits : digits), max(exponent, 1) - 25);
    return half >> 15 ? -size : size;
}
// The largest half that is not above a number, which is not negative.
static unsigned short half_down(double value)
{
    const float x = __double2float_rd(value);
    if (!(x >= 0)) _exit(12);
    unsigned short low = 0, high = 0x7c00;  // from_half(low) <= x < from_half(high)
    while (high - low > 1) {
        const unsigned short middle = (low + high) / 2;
        (from_half(middle) <= x ? low : high) = middle;
    }
    return low;
}
static unsigned short half_up(double value)
{
    const float x = __double2float_ru(value);
    const unsigned short low = half_down(x);
    return low + (from_half(low) < x);
}
static unsigned short half_near(float x)
{
    const unsigned short low = half_down(x);
    const float below = x - from_half(low), above = from_half(low + 1) - x;
    return low + (above < below || (above == below && low & 1));
}
