/* One JPEG to its pixels, for jpeg.rs. In C because the library reports errors by a function that must not return: it is
 * left by a long jump here, past frames of C only, and Rust sees a call that failed. */

#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>
#include <jerror.h>

/* Lines that are asked for in one call. */
#define LINES_AT_ONCE 16

/* The same fields in the same order as in jpeg.rs. */
struct npy_jpeg_wish {
    const unsigned char *bytes;
    size_t length;
    /* What the caller has read in the header: the picture's size, and one component or three. */
    unsigned int width, height, components;
    /* The size to decode at, in eighths, and the part to give, in pixels of that size. */
    unsigned int eighths;
    unsigned int left, top, part_width, part_height;
    /* As many components a pixel as the picture has; lines follow each other without a gap. */
    unsigned char *pixels;
};

struct npy_jpeg {
    /* First, so that a pointer to it is one to the whole. */
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    jmp_buf refused;
};

/* An error; and a warning likewise: the caller has a decoder that says what is wrong. */
static void refuse(j_common_ptr codec)
{
    longjmp(((struct npy_jpeg *)codec)->refused, 1);
}

static void hear(j_common_ptr codec, int level)
{
    if (level < 0)
        refuse(codec);
}

static void say_nothing(j_common_ptr codec)
{
    (void)codec;
}

/* From <jsimd.h>, which needs what only the library itself has: whether the inverse DCT is there in vector instructions. */
extern int jsimd_can_idct_islow(void);

int npy_jpeg_is_vectorised(void)
{
    return jsimd_can_idct_islow() != 0;
}

/* 0 where there is no memory. */
static int begin(struct npy_jpeg *decoder)
{
    decoder->codec.err = jpeg_std_error(&decoder->errors);
    decoder->errors.error_exit = refuse;
    decoder->errors.emit_message = hear;
    decoder->errors.output_message = say_nothing;
    if (setjmp(decoder->refused)) {
        jpeg_destroy_decompress(&decoder->codec);
        return 0;
    }
    jpeg_create_decompress(&decoder->codec);
    return 1;
}

/* NULL where there is no memory. */
struct npy_jpeg *npy_jpeg_new(void)
{
    struct npy_jpeg *decoder = calloc(1, sizeof *decoder);
    if (decoder != NULL && !begin(decoder)) {
        free(decoder);
        return NULL;
    }
    return decoder;
}

void npy_jpeg_free(struct npy_jpeg *decoder)
{
    if (decoder == NULL)
        return;
    jpeg_destroy_decompress(&decoder->codec);
    free(decoder);
}

/* 1: all pixels are there, and the file was read to its end without a complaint. 0: not so. */
int npy_jpeg_decode(struct npy_jpeg *decoder, const struct npy_jpeg_wish *wish)
{
    j_decompress_ptr codec = &decoder->codec;
    if (setjmp(decoder->refused)) {
        jpeg_abort_decompress(codec);
        return 0;
    }
    jpeg_mem_src(codec, (unsigned char *)wish->bytes, wish->length);
    jpeg_read_header(codec, TRUE);
    J_COLOR_SPACE stored = wish->components == 1 ? JCS_GRAYSCALE : JCS_YCbCr;
    if (codec->image_width != wish->width || codec->image_height != wish->height || codec->data_precision != 8
        || codec->num_components != (int)wish->components || codec->jpeg_color_space != stored || codec->arith_code)
        refuse((j_common_ptr)codec);
    codec->out_color_space = wish->components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    codec->scale_num = wish->eighths;
    codec->scale_denom = 8;
    codec->dct_method = JDCT_ISLOW;
    codec->do_fancy_upsampling = TRUE;
    jpeg_start_decompress(codec);

    JDIMENSION left = wish->left, width = wish->part_width;
    JDIMENSION end = wish->top + wish->part_height;
    if (width == 0 || left + width > codec->output_width || end > codec->output_height)
        refuse((j_common_ptr)codec);
    if (width < codec->output_width)
        jpeg_crop_scanline(codec, &left, &width);
    size_t line_bytes = (size_t)wish->part_width * wish->components;
    if (left != wish->left || width != wish->part_width || codec->output_width != width
        || codec->output_components != (int)wish->components)
        refuse((j_common_ptr)codec);

    if (wish->top > 0)
        jpeg_skip_scanlines(codec, wish->top);
    while (codec->output_scanline < end) {
        JSAMPROW lines[LINES_AT_ONCE];
        JDIMENSION first = codec->output_scanline - wish->top;
        JDIMENSION count = end - codec->output_scanline;
        if (count > LINES_AT_ONCE)
            count = LINES_AT_ONCE;
        for (JDIMENSION line = 0; line < count; line++)
            lines[line] = wish->pixels + (first + line) * line_bytes;
        if (jpeg_read_scanlines(codec, lines, count) == 0)
            refuse((j_common_ptr)codec);
    }
    /* To the end, for the sake of what might be wrong there: the last line is decoded, as skipping to the end would not look. */
    JDIMENSION rest = codec->output_height - codec->output_scanline;
    if (rest > 1)
        jpeg_skip_scanlines(codec, rest - 1);
    if (rest > 0) {
        JSAMPARRAY line = (*codec->mem->alloc_sarray)((j_common_ptr)codec, JPOOL_IMAGE, (JDIMENSION)line_bytes, 1);
        while (codec->output_scanline < codec->output_height)
            if (jpeg_read_scanlines(codec, line, 1) == 0)
                refuse((j_common_ptr)codec);
    }
    jpeg_finish_decompress(codec);
    return 1;
}
